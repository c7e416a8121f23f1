"""From an image (B, C, H, W) to a channels-last map (B, H', W', embed_dims), and from a clip to a volume."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conv_norm import conv_norm
from .norm import NORMS


class Stem(nn.Module):
    """What reads the image: a subclass says in :meth:`embed` how; here it is checked.

    Args:
        in_channels: of the image.

    Raises:
        ValueError: if that is not a positive integer.
    """

    axes = 2  # of an image; a stem of clips has 3

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if not isinstance(in_channels, int) or in_channels < 1:
            raise ValueError(
                f'in_channels {in_channels!r} is not a positive integer; give the number of channels of the images'
            )
        self.in_channels = in_channels

    def embed(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, H', W', embed_dims)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """As :meth:`embed`.

        Raises:
            TypeError: if the image holds integers.
            ValueError: if it is not of this shape.
        """
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):  # which would keep the shapes they see
            self._check(x)
        return self.embed(x)

    def _check(self, x: Tensor) -> None:
        kind, sizes = ('images', 'H, W') if self.axes == 2 else ('clips', 'T, H, W')
        if x.dim() != self.axes + 2 or x.shape[1] != self.in_channels or 0 in x.shape[2:]:
            if x.dim() == self.axes + 1:
                remedy = 'add the axis of the batch, x[None]'
            elif x.dim() == self.axes + 2 and 0 not in x.shape[1:]:
                remedy = f'build it with in_channels={x.shape[1]}, or convert the {kind}'
            else:
                remedy = f'check what loads the {kind}'
            raise ValueError(
                f'{kind} of shape {tuple(x.shape)} do not fit a backbone of in_channels={self.in_channels}: it takes '
                f'(B, {self.in_channels}, {sizes}); {remedy}'
            )
        if not x.is_floating_point():
            raise TypeError(f'{kind} hold {x.dtype}, not floating point numbers; normalise them, or pass x.float()')


class PatchEmbed(Stem):
    """One convolution, then a norm: LayerNorm and a stride of the kernel size as published (VMamba "v1", Swin).

    A last row or column of fewer than ``patch_size`` pixels is left out, as published; an image smaller than one patch
    is padded with zeros to one.

    Args:
        in_channels: of the image.
        embed_dims: of the map.
        patch_size: kernel size.
        norm: a name of ``NORMS``, or None for none, as plain backbones have it.
        stride: of the convolution; None is ``patch_size``.
        cover: pad with zeros on the right and at the bottom so that nothing is left out: sizes are rounded up.
        bias: whether the convolution has a bias.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        patch_size: int = 4,
        norm: str | None = 'LN',
        *,
        stride: int | None = None,
        cover: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels)
        self.patch_size, self.stride, self.cover = patch_size, stride or patch_size, cover
        self.conv = nn.Conv2d(in_channels, embed_dims, patch_size, stride=self.stride, bias=bias)
        self.norm = nn.Identity() if norm is None else NORMS[norm](embed_dims)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the map of an image of this size."""
        sizes = (size + self._missing(size) for size in (height, width))
        return tuple((size - self.patch_size) // self.stride + 1 for size in sizes)

    def embed(self, x: Tensor) -> Tensor:
        missing_rows, missing_cols = (self._missing(size) for size in x.shape[2:])
        return conv_norm(F.pad(x, (0, missing_cols, 0, missing_rows)), self.conv, self.norm)

    def _missing(self, size: int) -> int:
        steps = -(-size // self.stride) if self.cover else 1
        return max(0, (steps - 1) * self.stride + self.patch_size - size)


class ClipEmbed(Stem):
    """One convolution of non-overlapping patches: a clip (B, C, T, H, W) to a volume (B, T', H', W', embed_dims).

    Sizes are rounded up: zeros are added behind the last frame, on the right and at the bottom.

    Args:
        in_channels: of the clip.
        embed_dims: of the volume.
        patch_size: frames, rows and columns of a patch.
    """

    axes = 3

    def __init__(self, in_channels: int, embed_dims: int, patch_size: Sequence[int]) -> None:
        super().__init__(in_channels)
        self.patch_size = tuple(patch_size)
        self.conv = nn.Conv3d(in_channels, embed_dims, self.patch_size, stride=self.patch_size)

    def grid(self, *sizes: int) -> tuple[int, ...]:
        """Frames, rows and columns of the volume of a clip of these sizes."""
        return tuple(-(-size // patch) for size, patch in zip(sizes, self.patch_size, strict=True))

    def embed(self, x: Tensor) -> Tensor:
        frames, rows, cols = (-size % patch for size, patch in zip(x.shape[2:], self.patch_size, strict=True))
        return self.conv(F.pad(x, (0, cols, 0, rows, 0, frames))).movedim(1, -1)  # channels last


class ConvStem(Stem):
    """Two 3x3 convolutions, norm and GELU between them, norm behind: LayerNorm as published (VMamba "v2").

    With ``patch_size`` 4 both have stride 2, with 2 the first only; sizes are rounded up.
    """

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int = 4, norm: str = 'LN') -> None:
        super().__init__(in_channels)
        if patch_size not in (2, 4):
            raise ValueError(f"patch_size {patch_size!r} of patch embedding 'v2' must be 2 or 4; 'v1' takes any")
        self.conv1 = nn.Conv2d(in_channels, embed_dims // 2, 3, stride=2, padding=1)
        self.norm1 = NORMS[norm](embed_dims // 2, narrow=True)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(embed_dims // 2, embed_dims, 3, stride=patch_size // 2, padding=1)
        self.norm2 = NORMS[norm](embed_dims)

    def embed(self, x: Tensor) -> Tensor:
        x = self.act(conv_norm(x, self.conv1, self.norm1))  # (B, C, H, W) -> (B, H, W, C)
        return conv_norm(x.permute(0, 3, 1, 2), self.conv2, self.norm2)


class DeepStem(Stem):
    """Convolutions 7x7 of stride 2 and twice 3x3, each with BatchNorm and ReLU; one 3x3 of stride 2; LayerNorm.

    Sizes are rounded up. GroupMamba and SiMBA, after others.
    """

    def __init__(self, in_channels: int, embed_dims: int, hidden_dims: int) -> None:
        super().__init__(in_channels)
        layers = []
        for i in range(3):
            size, stride = (3, 1) if i else (7, 2)
            channels = hidden_dims if i else in_channels
            layers += [
                nn.Conv2d(channels, hidden_dims, size, stride=stride, padding=size // 2, bias=False),
                nn.BatchNorm2d(hidden_dims),
                nn.ReLU(),
            ]
        self.convs = nn.Sequential(*layers)
        self.proj = nn.Conv2d(hidden_dims, embed_dims, 3, stride=2, padding=1)
        self.norm = NORMS['LN'](embed_dims)

    def embed(self, x: Tensor) -> Tensor:
        return conv_norm(self.convs(x), self.proj, self.norm)  # (B, C, H, W) -> (B, H / 4, W / 4, C')
