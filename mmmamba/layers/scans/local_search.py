"""LocalMamba's differentiable search: all candidate routes at once, weighted by learned logits; the best are kept."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.scans import SCAN_MODULES

from .local import LocalScan
from .selective_scans import StateSpace

CANDIDATES = tuple(
    f'{base}{reverse}'
    for base in ('raster', 'raster.transpose', 'window:2', 'window:7')
    for reverse in ('', '.reverse')
)


@SCAN_MODULES.register_module(name='local_search')
class LocalSearch(LocalScan):
    """Candidates as in ``local``; each output normed without parameters, weighted by softmax(``route_logits``), summed.

    Args:
        channels: E.
        state: of the scans.
        routes: the candidates; LocalMamba's eight unless said.
        padded: as in ``local``.
        released_inverse: as in ``local``.

    :meth:`freeze` ends the search: from then on it computes what ``local`` does with the routes kept, which a
    checkpoint remembers. ``FreezeRoutesHook`` calls it and says how to train the result from the start.

    Source: Huang et al., "LocalMamba" (2024), section 3.4. (B, H, W, E) to the same shape.
    """

    def __init__(
        self,
        channels: int,
        state: StateSpace,
        *,
        routes: Sequence[str] = CANDIDATES,
        padded: bool = False,
        released_inverse: bool = False,
    ) -> None:
        super().__init__(channels, state, routes=routes, padded=padded, released_inverse=released_inverse)
        self.route_logits = nn.Parameter(torch.zeros(len(self.routes)))
        self.register_buffer('kept', torch.zeros(len(self.routes), dtype=torch.bool))  # none: the search goes on
        self._kept: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        outputs = self._outputs(x)
        if self._kept:
            # The logits stay in the graph: distributed training wants a gradient for each parameter it began with.
            return sum(self.gate(outputs[k]) for k in self._kept) + 0 * self.route_logits.sum()
        normed = F.layer_norm(self.gate(outputs, (2, 3)), outputs.shape[-1:])
        return (self.route_logits.softmax(0)[:, None, None, None, None] * normed).sum(0)

    def best_routes(self, count: int = 4) -> list[str]:
        """Names of the routes with the largest logits, in the order of the candidates."""
        return [self.routes.names[k] for k in self._best(count)]

    def freeze(self, count: int = 4) -> list[str]:
        """End the search.

        Args:
            count: routes to keep.

        Returns:
            Their names.

        Raises:
            ValueError: if there are not so many candidates.
        """
        if not 1 <= count <= len(self.routes):
            raise ValueError(f'cannot keep {count!r} of {len(self.routes)} candidate routes')
        self._keep(self._best(count))
        return [self.routes.names[k] for k in self._kept]

    def _best(self, count: int) -> list[int]:
        return sorted(self.route_logits.detach().argsort(descending=True, stable=True)[:count].tolist())

    def _keep(self, routes: Sequence[int]) -> None:
        self._kept = tuple(routes)
        self.kept.fill_(False)
        self.kept[list(routes)] = True

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._kept = tuple(self.kept.nonzero().flatten().tolist())
