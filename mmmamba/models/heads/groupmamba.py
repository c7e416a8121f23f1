"""The classification head of GroupMamba: a block for a class token, and two linear layers."""

import torch
from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmmamba.layers import GroupMambaLayer, LayerNorm, Mlp
from mmmamba.models.backbones.base import init_linear
from mmmamba.models.backbones.groupmamba import NORM_EPS, init_conv
from mmmamba.registry import MODELS
from mmmamba.scans import NAMED_SCANS


class ClassBlock(nn.Module):
    """``c + LN(GroupMambaLayer(c))``, then ``c + MLP(LN(c))``, for a token as a map of one pixel (B, 1, 1, C)."""

    def __init__(self, embed_dims: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(embed_dims, NORM_EPS)
        self.norm2 = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.mixer = GroupMambaLayer(embed_dims, NAMED_SCANS['cross'])
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm1(self.mixer(x))
        return x + self.mlp(self.norm2(x))


@MODELS.register_module()
class GroupMambaClsHead(ClsHead):
    """Mean of the last map, a block that sees that token alone, LayerNorm, two linear layers and their mean.

    Args:
        num_classes: outputs.
        in_channels: of the last map.
        mlp_ratio: of the block.
        distillation: whether there is the second linear layer, which learns from a teacher. Without a teacher, training
            takes the loss of both layers' mean.
        alpha: with a teacher, weight of its loss; that of the labels has the rest.
        loss: config of the loss of the labels.
        topk: accuracies that are reported.
        cal_acc: report the accuracy in training.
        init_cfg: mmengine initialisation.

    The teacher is a hard one: the second layer learns the class that has its highest score, the first one the labels.
    Source: Touvron et al., "Training data-efficient image transformers & distillation through attention" (2021), eq. 3.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        mlp_ratio: float = 4.0,
        distillation: bool = True,
        alpha: float = 0.5,
        loss: dict | None = None,
        topk: int | tuple[int, ...] = (1,),
        cal_acc: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            loss=loss or dict(type='CrossEntropyLoss', loss_weight=1.0), topk=topk, cal_acc=cal_acc, init_cfg=init_cfg
        )
        self.block = ClassBlock(in_channels, mlp_ratio)
        self.norm = LayerNorm(in_channels, NORM_EPS)
        self.fc = nn.Linear(in_channels, num_classes)
        self.dist_fc = nn.Linear(in_channels, num_classes) if distillation else None
        self.alpha = alpha
        self.loss_distill = nn.CrossEntropyLoss()
        self.apply(init_linear)
        self.apply(init_conv)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """The class token of the last of the maps (B, C, H, W): (B, C)."""
        token = feats[-1].mean((2, 3))[:, None, None]  # (B, C, H, W) -> (B, 1, 1, C)
        return self.norm(self.block(token)).flatten(1)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Class scores (B, num_classes)."""
        token = self.pre_logits(feats)
        if self.dist_fc is None:
            return self.fc(token)
        return torch.stack([self.fc(token), self.dist_fc(token)]).mean(0)

    def loss(
        self, feats: tuple[Tensor, ...], data_samples: list, teacher_scores: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Loss of the labels and, with a teacher, of its classes.

        Args:
            feats: maps, the last of them (B, C, H, W).
            data_samples: ground truth of each image.
            teacher_scores: (B, num_classes), or None.

        Returns:
            Losses by name.

        Raises:
            ValueError: if there is a teacher and no second layer to learn from it.
        """
        if teacher_scores is None:
            return super().loss(feats, data_samples)
        if self.dist_fc is None:
            raise ValueError('GroupMambaClsHead: distillation=False leaves no layer for the teacher; set it to True')
        token = self.pre_logits(feats)
        losses = self._get_loss(self.fc(token), data_samples)
        losses['loss_class'] = (1 - self.alpha) * losses.pop('loss')
        losses['loss_distill'] = self.alpha * self.loss_distill(self.dist_fc(token), teacher_scores.argmax(1))
        return losses
