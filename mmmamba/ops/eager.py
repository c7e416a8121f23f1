"""Running a registered operator without the cost of its registration, where nobody looks.

``torch.library`` operators take about 0.1 ms on the host for checks and dispatch that a compiler, an exporter or a
dispatch mode needs. A call on plain tensors that nobody traces goes through a ``torch.autograd.Function`` instead, and
where no gradient is wanted through nothing at all.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .backend import needs_grad


def function_of(forward: Callable, setup_context: Callable, backward: Callable) -> type[torch.autograd.Function]:
    """An autograd function from what an operator registers: its implementation and its two autograd callbacks."""

    def forward_and_save(ctx, *inputs):  # a setup_context of its own would cost a look at the signature in every call
        output = forward(*inputs)
        setup_context(ctx, inputs, output)
        return output

    methods = dict(run=staticmethod(forward), forward=staticmethod(forward_and_save), backward=staticmethod(backward))
    return type('EagerFunction', (torch.autograd.Function,), methods)


def call(operator: Callable, function: type[torch.autograd.Function], *inputs: Any) -> Any:
    """The operator, or the function that does the same, on ``inputs``."""
    if is_traced(inputs):
        return operator(*inputs)
    wants_gradients = needs_grad(*(t for t in inputs if isinstance(t, Tensor)))
    return function.apply(*inputs) if wants_gradients else function.run(*inputs)


def unshared(implementation: Callable) -> Callable:
    """The implementation with what ``torch.library`` demands of outputs: contiguous, no two in the same memory."""

    @functools.wraps(implementation)
    def wrapper(*inputs):
        outputs = implementation(*inputs)
        memory = [output.untyped_storage().data_ptr() for output in outputs]
        shared = [memory.count(m) > 1 for m in memory]
        outputs = (o.clone() if s else o for o, s in zip(outputs, shared, strict=True))
        return tuple(o.contiguous() for o in outputs)

    return wrapper


def is_traced(inputs: tuple) -> bool:
    """Whether a compiler, an exporter, a dispatch mode or a subclass of Tensor looks at what is done to the inputs."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack():
        return True
    return any(isinstance(t, Tensor) and type(t) not in (Tensor, torch.nn.Parameter) for t in inputs)
