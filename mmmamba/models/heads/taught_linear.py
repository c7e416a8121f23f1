"""A linear head that learns from labels and, where there is one, from a teacher."""

from mmpretrain.models.heads import LinearClsHead
from torch import Tensor

from mmmamba.registry import MODELS


@MODELS.register_module()
class TaughtLinearClsHead(LinearClsHead):
    """mmpretrain's LinearClsHead with a second loss, between its scores and those of a teacher.

    Args:
        num_classes: outputs.
        in_channels: of the last map.
        loss_teacher: config of the second loss, ``dict(type='mmmamba.TeacherDivergenceLoss')``.
        options: those of LinearClsHead.
    """

    def __init__(self, num_classes: int, in_channels: int, *, loss_teacher: dict, **options) -> None:
        super().__init__(num_classes, in_channels, **options)
        self.loss_teacher = MODELS.build(loss_teacher)

    def loss(
        self, feats: tuple[Tensor, ...], data_samples: list, teacher_scores: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Loss of the labels and, with a teacher, of its scores.

        Args:
            feats: maps or vectors, the last of them (B, in_channels).
            data_samples: ground truth of each image.
            teacher_scores: (B, num_classes), or None.

        Returns:
            Losses by name.
        """
        scores = self(feats)
        losses = self._get_loss(scores, data_samples)
        if teacher_scores is not None:
            losses['loss_class'] = losses.pop('loss')
            losses['loss_teacher'] = self.loss_teacher(scores, teacher_scores)
        return losses
