"""The head of SiMBA: a class token made of the map by a block of its own, and a second classifier, of the pixels."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmamba.layers import LayerNorm
from mmmamba.registry import MODELS


@MODELS.register_module()
class ClassBlockHead(BaseModule):
    """Scores of the class token and, with token labelling, half of the highest of the pixels' scores.

    Args:
        classifier: config of the linear head on the class token, such as ``dict(type='mmpretrain.LinearClsHead',
            num_classes=1000, in_channels=448)``, which also says the loss.
        class_block: config of a module that makes a token (B, C) of the map (B, H, W, C).
        token_label: whether there is a classifier of the pixels.
        token_loss_weight: of its loss.
        eps: of the norm in front of the classifiers.
        init_cfg: mmengine initialisation.

    The classifier of the pixels learns the label of the image from the mean of its scores; from a teacher's labels for
    each pixel, as the authors have it, it learns in ``TokenLabelHead``.

    Shape:
        Input: a tuple of maps, of which the last (B, C, H, W), not normed, counts. Output: (B, num_classes).

    Source: Jiang et al., "All Tokens Matter" (2021), for token labelling.
    """

    def __init__(
        self,
        *,
        classifier: dict,
        class_block: dict,
        token_label: bool = True,
        token_loss_weight: float = 0.5,
        eps: float = 1e-6,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.classifier = MODELS.build(classifier)
        self.class_block = MODELS.build(class_block)
        channels, num_classes = self.classifier.in_channels, self.classifier.num_classes
        self.norm = LayerNorm(channels, eps)
        self.aux_fc = nn.Linear(channels, num_classes) if token_label else None
        self.token_loss_weight = token_loss_weight

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        scores = self._class_scores(feats)
        return scores if self.aux_fc is None else scores + 0.5 * self._pixel_scores(feats).amax(1)

    def loss(self, feats: Sequence[Tensor], data_samples: list, **options) -> dict[str, Tensor]:
        """Loss of the class token and, with token labelling, of the pixels' mean scores."""
        losses = self.classifier._get_loss(self._class_scores(feats), data_samples, **options)
        if self.aux_fc is not None:
            of_pixels = self.classifier._get_loss(self._pixel_scores(feats).mean(1), data_samples, **options)
            losses['loss_token'] = self.token_loss_weight * of_pixels['loss']
        return losses

    def predict(self, feats: Sequence[Tensor], data_samples: list | None = None) -> list:
        """As in mmpretrain's heads: data samples with scores and labels."""
        return self.classifier._get_predictions(self(feats), data_samples)

    def _class_scores(self, feats: Sequence[Tensor]) -> Tensor:
        token = self.norm(self.class_block(feats[-1].permute(0, 2, 3, 1)))  # (B, C, H, W) -> (B, C)
        return self.classifier((token,))

    def _pixel_scores(self, feats: Sequence[Tensor]) -> Tensor:
        tokens = feats[-1].flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, L, C)
        return self.aux_fc(self.norm(tokens))
