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
        distillation: whether there is the second linear layer, which the authors taught with a RegNetY-160. There is no
            teacher here: training takes the loss of both layers' mean.
        loss: config of the loss.
        topk: accuracies that are reported.
        cal_acc: report the accuracy in training.
        init_cfg: mmengine initialisation.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        mlp_ratio: float = 4.0,
        distillation: bool = True,
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
