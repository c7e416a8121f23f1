"""How far a model's predictions are from a teacher's."""

from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.registry import MODELS


@MODELS.register_module()
class TeacherDivergenceLoss(nn.Module):
    """``loss_weight * KL(softmax(teacher / temperature) || softmax(scores / temperature))``, the mean over the batch.

    Args:
        loss_weight: of the loss; gradients shrink with the square of the temperature, which it has to make good.
        temperature: by which the scores of both are divided.

    Shape:
        Scores and teacher's scores: (B, num_classes). Output: a scalar.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015).
    """

    def __init__(self, loss_weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.temperature = temperature

    def forward(self, scores: Tensor, teacher_scores: Tensor) -> Tensor:
        ours, theirs = ((each / self.temperature).log_softmax(1) for each in (scores, teacher_scores))
        return self.loss_weight * F.kl_div(ours, theirs, reduction='batchmean', log_target=True)
