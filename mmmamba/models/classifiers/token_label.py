"""A classifier that is trained on tokens of two images at once."""

import numpy as np
from mmpretrain.models import CutMix, ImageClassifier
from torch import Tensor

from mmmamba.models.heads.token_label import exchange
from mmmamba.registry import MODELS


@MODELS.register_module()
class TokenLabelClassifier(ImageClassifier):
    """mmpretrain's ImageClassifier with MixToken, for a backbone with ``patch_embed`` and a ``mmmamba.TokenLabelHead``.

    In training each image takes what is inside a box, the same in the whole batch, from the image at its place in
    the reversed batch: behind the stem, so that no convolution of it sees the seam, and by whole tokens, so that each
    has one image's label. The head puts the scores of the tokens back. There is no Mixup or CutMix beside it.

    Args:
        options: those of ImageClassifier.
        stride: pixels along a token.
        alpha: of the Beta distribution that the share of the other image comes from.

    Source: Jiang et al., "All Tokens Matter" (2021), section 3.2.
    """

    def __init__(self, *, stride: int = 32, alpha: float = 1.0, **options) -> None:
        super().__init__(**options)
        self.stride = stride
        self.cutmix = CutMix(alpha)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of the head for mixed images.

        Args:
            inputs: (B, 3, H, W).
            data_samples: with label maps.

        Returns:
            Losses by name.
        """
        height, width = (size // self.stride for size in inputs.shape[2:])
        box, _ = self.cutmix.cutmix_bbox_and_lam((height, width), np.random.beta(self.cutmix.alpha, self.cutmix.alpha))
        top, bottom, left, right = map(int, box)

        def mix(stem, images, x: Tensor) -> Tensor:  # (B, H', W', C)
            rows, columns = x.shape[1] // height, x.shape[2] // width
            return exchange(x, (top * rows, bottom * rows, left * columns, right * columns))

        handle = self.backbone.patch_embed.register_forward_hook(mix)
        try:
            feats = self.extract_feat(inputs)
        finally:
            handle.remove()
        return self.head.loss(feats, data_samples, (top, bottom, left, right))
