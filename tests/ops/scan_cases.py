"""What the tests of the scans share: inputs, how far a result may be from the fp64 reference, how it is judged."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# Largest error, relative to the largest value of the reference. Half precisions: a few times their own rounding.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected value, if that is a normal number; infinite for NaN or Inf."""
    if found.shape != expected.shape or not found.isfinite().all():
        return float('inf')
    if not expected.numel():
        return 0.0
    scale = expected.double().abs().max().clamp(min=torch.finfo(found.dtype).tiny)
    return ((found.double() - expected.double()).abs().max() / scale).item()


def scan_inputs(
    seed: int,
    *,
    batch: int = 2,
    length: int = 17,
    channels: int = 6,
    groups: int | None = None,
    d_state: int = 3,
    skip: bool = True,
    gate: bool = True,
    bias: bool = True,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Tensor arguments of ``selective_scan``; B and C without a group dimension where ``groups`` is None."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    grouped = (d_state,) if groups is None else (groups, d_state)
    inputs = dict(
        u=randn(batch, length, channels),
        delta=0.5 * torch.rand(batch, length, channels, generator=g, dtype=torch.float64),
        A=-0.2 - torch.rand(channels, d_state, generator=g, dtype=torch.float64) * d_state,
        B=randn(batch, length, *grouped),
        C=randn(batch, length, *grouped),
    )
    inputs |= dict(D=randn(channels)) if skip else {}
    inputs |= dict(z=randn(batch, length, channels)) if gate else {}
    inputs |= dict(delta_bias=0.1 * randn(channels)) if bias else {}
    return {name: value.to(dtype) for name, value in inputs.items()}


def map_inputs(
    seed: int,
    *,
    batch: int = 2,
    size: tuple[int, int] = (5, 4),
    channels: int = 6,
    routes: int = 3,
    steps: int | None = None,
    dt_rank: int = 2,
    d_state: int = 3,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Tensor arguments of ``selective_scan_2d``; random routes of ``steps`` pixels, of all of them if None."""
    g = torch.Generator().manual_seed(seed)
    pixels = size[0] * size[1]

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    inputs = dict(
        x=randn(batch, *size, channels),
        x_proj_weight=randn(routes, dt_rank + 2 * d_state, channels) * channels**-0.5,
        dt_proj_weight=randn(routes, channels, dt_rank) * dt_rank**-0.5,
        dt_proj_bias=-1 + 0.5 * randn(routes, channels),
        A=-0.2 - torch.rand(routes, channels, d_state, generator=g, dtype=torch.float64) * d_state,
        D=randn(routes, channels),
    )
    walks = torch.stack([torch.randperm(pixels, generator=g)[: steps or pixels] for _ in range(routes)])
    return {name: value.to(dtype) for name, value in inputs.items()} | dict(routes=walks)


def with_own_channels(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The arguments of ``selective_scan_2d`` with a map that has channels of its own for each route."""
    routes = len(inputs['routes'])
    return {**inputs, 'x': torch.cat([inputs['x'] * (k + 1) / routes for k in range(routes)], dim=-1)}


def values_and_gradients(
    function: Callable[..., Tensor], inputs: Mapping[str, Tensor], dy: Tensor
) -> dict[str, Tensor]:
    """The output and the gradient of every floating input for the gradient ``dy`` of the output."""
    leaves = {name: t.detach().requires_grad_() if t.is_floating_point() else t for name, t in inputs.items()}
    output = function(**leaves)
    wanted = [name for name, t in leaves.items() if t.requires_grad]
    gradients = torch.autograd.grad(output, [leaves[name] for name in wanted], dy.to(output.dtype))
    return dict(output=output.detach()) | {f'd{name}': g for name, g in zip(wanted, gradients, strict=True)}


def gradient_of_output(like: Tensor, seed: int = 7) -> Tensor:
    """A fixed gradient for an output of the shape of ``like``, in its dtype."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(like.dtype)


def errors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """Relative error by name."""
    assert found.keys() == expected.keys()
    return {name: relative_error(found[name], expected[name]) for name in expected}


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Every tensor within ``TOLERANCE`` of what is expected."""
    far = {name: error for name, error in errors(found, expected).items() if not error <= TOLERANCE[dtype]}
    assert not far, f'relative errors above {TOLERANCE[dtype]}: {far}'
