"""A convolution and the LayerNorm behind it, as one where their modules allow."""

from torch import Tensor, nn

from mmmamba.layers.norm import LayerNorm
from mmmamba.layers.plain import are_plain
from mmmamba.ops import serves_fused


def conv_norm(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """``norm(conv(x))``, the norm over channels: (B, C, H, W) to (B, H', W', C').

    The kernel of the norm adds the bias of the convolution: cuDNN takes another pass over the map for it, and its
    gradient two more.
    """
    if conv.bias is None or not (serves_fused(x) and are_plain((conv, norm), (nn.Conv2d, LayerNorm))):
        return norm(conv(x).permute(0, 2, 3, 1))
    y = conv._conv_forward(x, conv.weight, None)
    return norm(y.permute(0, 2, 3, 1), shift=conv.bias)
