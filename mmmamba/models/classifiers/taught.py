"""A classifier that another one teaches while it is trained."""

import torch
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from mmmamba.registry import MODELS


@MODELS.register_module()
class TaughtClassifier(ImageClassifier):
    """mmpretrain's ImageClassifier, whose head also sees a teacher's scores in training.

    A hook gives it the teacher: ``mmmamba.TeacherHook`` a trained model, ``mmmamba.MESAHook`` the moving average of its
    own weights. The teacher sees the images as the model does, mixed and normed. Without one, as in a test, this is an
    ImageClassifier. Arguments: those of ImageClassifier; its head is one whose loss takes ``teacher_scores``,
    (B, num_classes) or None, as that of ``mmmamba.TaughtLinearClsHead`` and ``mmmamba.GroupMambaClsHead``.
    """

    teacher: nn.Module | None = None

    def learn_from(self, teacher: nn.Module) -> None:
        """Take a teacher, which is put in evaluation mode.

        Args:
            teacher: a classifier that makes scores (B, num_classes) of images (B, 3, H, W).
        """
        # Past nn.Module: a submodule would be trained, averaged, counted and saved with this model.
        object.__setattr__(self, 'teacher', teacher.requires_grad_(False).eval())

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of the head.

        Args:
            inputs: (B, 3, H, W).
            data_samples: ground truth of each image.

        Returns:
            Losses by name.
        """
        with torch.no_grad():
            scores = None if self.teacher is None else self.teacher(inputs)
        return self.head.loss(self.extract_feat(inputs), data_samples, teacher_scores=scores)
