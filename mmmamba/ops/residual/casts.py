"""Casts of weights, for matrix products in half precision, and of their gradients: many in one launch."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class _Offer(threading.local):
    """The copies that a :class:`WeightCasts` offers, by the identity of the weight and their dtype."""

    copies: dict[tuple[int, torch.dtype], Tensor] = {}


_offer = _Offer()


class WeightCasts:
    """Copies of a model's weights for its matrix products, all cast by one launch at the start of a forward pass.

    A launch for every branch costs the host more than the casts cost the device. Weights may be swapped for averages
    behind PyTorch's back, so they are cast again in every pass. They go into the same memory as long as PyTorch counts
    no change, and neither stream nor gradient mode are others: an earlier pass may still hold what it was made with.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # threads may share a model
        self._asked: list = []  # for copies of what, and where
        self._weights: list[Tensor] = []  # those of them that are cast here, where they lie, and what casts them
        self._pointers: list[int] = []
        self._cast: Callable[[Tensor], None]
        self._versions: tuple | None = None  # what the copies were made of
        self._memory: Tensor
        self._copies: dict[tuple[int, torch.dtype], Tensor] = {}

    def __reduce__(self):  # a copy of the model has copies of its own
        return WeightCasts, ()

    @contextmanager
    def offered(self, weights: Iterable[Tensor], dtype: torch.dtype, device: torch.device) -> Iterator[None]:
        """In the ``with`` block, :func:`in_dtype` gives out the copies; what has none is cast on its own.

        That is what is no parameter of the model in fp32 on the device, as where it is sharded, and every weight while
        a CUDA graph is captured, which would go on writing to copies that are gone.
        """
        if not (device.type == 'cuda' and torch.cuda.is_current_stream_capturing()):
            _offer.copies = self._cast_again(list(weights), dtype, device)
        try:
            yield
        finally:
            _offer.copies = {}

    def _cast_again(
        self, weights: list[Tensor], dtype: torch.dtype, device: torch.device
    ) -> dict[tuple[int, torch.dtype], Tensor]:
        stream = torch.cuda.current_stream(device) if device.type == 'cuda' else None
        mode = (dtype, stream, torch.is_grad_enabled())
        asked = [device, *map(id, weights)]
        with self._lock, torch.inference_mode(False), torch.no_grad():  # an inference tensor could not serve training
            if asked != self._asked or [weight.data_ptr() for weight in self._weights] != self._pointers:
                self._find([weight for weight in weights if _can_be_cast(weight, device)])
                self._asked = asked
            versions = (*mode, *[weight._version for weight in self._weights])
            if versions != self._versions:
                self._allocate(dtype, device)
                self._versions = versions
            self._cast(self._memory)
            return self._copies

    def _find(self, weights: list[Tensor]) -> None:
        from .triton_kernels import cast_launch  # triton is optional, and a second to import

        # Odd sizes at the end: products read rows that start at a multiple of 16 bytes faster.
        self._weights = sorted(weights, key=lambda weight: weight.numel() % 8 > 0)
        self._pointers = [weight.data_ptr() for weight in self._weights]
        self._cast = cast_launch(self._weights)
        self._versions = None

    def _allocate(self, dtype: torch.dtype, device: torch.device) -> None:
        sizes = [weight.numel() for weight in self._weights]
        self._memory = torch.empty(sum(sizes), dtype=dtype, device=device)
        pieces = zip(self._weights, self._memory.split_with_sizes(sizes), strict=True)
        self._copies = {(id(weight), dtype): piece.view_as(weight) for weight, piece in pieces}


def in_dtype(dtype: torch.dtype, *weights: Tensor) -> Sequence[Tensor]:
    """The weights in ``dtype``: copies that :class:`WeightCasts` offers, or new ones, made in one launch."""
    if all(weight.dtype == dtype for weight in weights):
        return weights
    offered = _offer.copies
    found = [offered.get((id(weight), dtype)) for weight in weights]
    if all(c is not None and c.shape == w.shape for c, w in zip(found, weights, strict=True)):
        return found
    copies = [torch.empty_like(weight, dtype=dtype) for weight in weights]
    torch._foreach_copy_(copies, weights)
    return copies


def in_dtypes_of(dtypes: list[torch.dtype | None], gradients: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Each gradient in the dtype of its parameter, None where there is none."""
    pairs = zip(gradients, dtypes, strict=True)
    return [d if d is None or d.dtype == dtype else d.to(dtype) for d, dtype in pairs]


def _can_be_cast(weight: Tensor, device: torch.device) -> bool:
    plain = type(weight) is nn.Parameter and weight.dtype == torch.float32 and weight.device == device
    return plain and weight.is_contiguous() and not weight.is_inference()  # which has no version
