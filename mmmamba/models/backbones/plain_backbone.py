"""What the backbones of one resolution have in common: an embedding, layers of one width, maps after some of them."""

from typing import Any

from torch import Tensor

from mmmamba.models.backbones.base import Backbone


class PlainBackbone(Backbone):
    """Contract of a plain backbone: what its forward pass consists of, which others may take part in.

    A subclass has ``layers`` of width ``embed_dims``, and says in :meth:`start`, :meth:`run_layer` and :meth:`output`
    what happens to an image. Between the layers its features are a map (B, H', W', C); one that has anything else there
    says in :meth:`patches` and :meth:`with_patches` where the patches are.
    """

    embed_dims: int

    def start(self, image: Tensor) -> tuple[Tensor, Any]:
        """Embed an image (B, C, H, W): what the first layer takes, and what all methods below are told besides."""
        raise NotImplementedError

    def run_layer(self, index: int, x: Tensor, context: Any) -> tuple[Tensor, Tensor]:
        """The features behind a layer, and what the next one takes; they differ where something is done between."""
        raise NotImplementedError

    def output(self, index: int, x: Tensor, context: Any) -> Tensor:
        """What is returned of the features behind a layer, a map (B, C, H', W')."""
        raise NotImplementedError

    def patches(self, x: Tensor, context: Any) -> Tensor:
        """The map (B, H', W', C) that is part of the features."""
        return x

    def with_patches(self, x: Tensor, patches: Tensor, context: Any) -> Tensor:
        """The features with another map in place of theirs."""
        return patches

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x, context = self.start(image)
        outs = []
        for i in range(self.out_indices[-1] + 1):
            out, x = self.run_layer(i, x, context)
            if i in self.out_indices:
                outs.append(self.output(i, out, context))
        return tuple(outs)
