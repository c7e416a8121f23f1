"""PlainMamba: Mamba layers at one resolution that scan the map along continuous routes and know their direction.

Paper: Yang et al., "PlainMamba: Improving Non-Hierarchical Mamba in Visual Recognition", BMVC 2024,
https://arxiv.org/abs/2403.17695. Authors' code: ChenhongyiYang/PlainMamba (Apache-2.0). Layout inside: channels-last.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from mmmamba.layers import NORMS, SS2D, LayerNorm, PositionEmbed, Stem
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import drop_path_rates, init_linear, run_block
from mmmamba.models.backbones.plain_backbone import PlainBackbone
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

STEM_DIMS = 64
PUBLISHED_SCAN = dict(type='continuous', released=True)

# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,
    num_layers=None,
    img_size=224,  # number or (height, width) that the position embedding is learned for; any size is taken
    patch_size=16,
    num_stem_convs=2,
    pos_embed=True,
    dwconv_layers=(),  # indices of the layers that a depthwise convolution follows
    norm='LN',  # of the layers: 'LN' or 'RMS'
    d_state=16,
    expand=2,
    dt_rank='auto',
    conv_size=7,
    conv_bias=True,
    bias=True,  # of the input and output projections
    out_norm_eps=1e-6,
    drop_path_rate=0.0,
)
ARCH = {
    'l1': dict(embed_dims=192, num_layers=24, num_stem_convs=1, dwconv_layers=(0,), drop_path_rate=0.2),
    'l2': dict(embed_dims=384, num_layers=24, drop_path_rate=0.2),
    'l3': dict(embed_dims=448, num_layers=36, drop_path_rate=0.4),
}


class PlainMambaPatchEmbed(Stem):
    """3x3 convolutions at half resolution, then one convolution per patch; (B, C, H, W) to (B, H', W', embed_dims).

    The half-resolution map is padded with zeros on the right and at the bottom to whole patches.
    """

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int, num_convs: int) -> None:
        super().__init__(in_channels)
        self.size = patch_size // 2
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, STEM_DIMS, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(STEM_DIMS), nn.ReLU()
        )
        self.convs = nn.Sequential()
        for _ in range(num_convs):
            self.convs.extend(
                [nn.Conv2d(STEM_DIMS, STEM_DIMS, 3, padding=1, bias=False), nn.BatchNorm2d(STEM_DIMS), nn.ReLU()]
            )
        self.conv = nn.Conv2d(STEM_DIMS, embed_dims, self.size, stride=self.size)

    def embed(self, x: Tensor) -> Tensor:
        x = self.convs(self.stem(x))
        x = F.pad(x, (0, -x.shape[3] % self.size, 0, -x.shape[2] % self.size))
        return self.conv(x).permute(0, 2, 3, 1)  # (B, C, H, W) -> (B, H, W, C)


class PlainMambaLayer(nn.Module):
    """``x + mixer(norm(x))``; in some layers ``GELU(BN(depthwise 3x3))`` of that, without a residual, as released."""

    def __init__(self, arch: dict, scan: ScanSpec, dwconv: bool, drop_path_rate: float) -> None:
        super().__init__()
        dims = arch['embed_dims']
        self.norm = NORMS[arch['norm']](dims, narrow=True)
        self.mixer = SS2D(
            dims,
            d_state=arch['d_state'],
            ssm_ratio=arch['expand'],
            dt_rank=arch['dt_rank'],
            conv_size=arch['conv_size'],
            conv_bias=arch['conv_bias'],
            proj_bias=arch['bias'],
            normed=False,
            gate=True,
            scan=scan,
        )
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')
        self.dwconv = None
        if dwconv:
            self.dwconv = nn.Sequential(
                nn.Conv2d(dims, dims, 3, padding=1, groups=dims, bias=False), nn.BatchNorm2d(dims), nn.GELU()
            )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mixer(self.norm(x)))
        if self.dwconv is not None:
            x = self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x


@MODELS.register_module()
class PlainMamba(PlainBackbone):
    """PlainMamba backbone: (B, in_channels, H, W) of any size to maps (B, C, H / 16, W / 16), sizes rounded up.

    Args:
        arch: a published architecture, ``l1``, ``l2``, ``l3``, or a dict with ``embed_dims``, ``num_layers`` and any
            other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: as for :class:`VMamba`. The published scan permutes only its input (``released``), which the authors'
            weights depend on; ``'continuous'`` is the one that the paper describes.
        out_indices: layers whose maps are returned, each through a LayerNorm of its own; negative counts from the end.
        final_norm: whether the last layer's map has such a norm; it is off in the authors' detectors.
        frozen_stages: -1 freezes nothing, 0 the patch and position embeddings, i the first i layers as well.
        drop_path_rate: of the last layer, growing linearly from 0; None is the architecture's published rate.
        with_cp: recompute each layer in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

    Raises:
        ValueError: if the arch, a layer index, ``frozen_stages`` or the drop path rate is not one of those that exist.
    """

    def __init__(
        self,
        arch: str | dict = 'l1',
        *,
        in_channels: int = 3,
        scan: ScanSpec = PUBLISHED_SCAN,
        out_indices: Sequence[int] = (-1,),
        final_norm: bool = True,
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        depth, dims, patch_size = arch['num_layers'], arch['embed_dims'], arch['patch_size']
        super().__init__(depth, out_indices=out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg)
        self.embed_dims, self.with_cp = dims, with_cp
        rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], depth)
        self.patch_embed = PlainMambaPatchEmbed(in_channels, dims, patch_size, arch['num_stem_convs'])
        self.pos_embed = None
        if arch['pos_embed']:
            size = arch['img_size']
            height, width = (size, size) if isinstance(size, int) else size
            self.pos_embed = PositionEmbed(dims, (height // patch_size, width // patch_size))
        self.layers = nn.ModuleList(
            PlainMambaLayer(arch, scan_of_layer(scan, i, [depth]), i in arch['dwconv_layers'], rates[i])
            for i in range(depth)
        )
        normed = [i for i in self.out_indices if final_norm or i < depth - 1]
        self.out_norms = nn.ModuleDict({str(i): LayerNorm(dims, arch['out_norm_eps']) for i in normed})
        self.apply(init_linear)
        self.freeze()

    def start(self, image: Tensor) -> tuple[Tensor, None]:
        """Patches with positions, (B, H/16, W/16, C)."""
        x = self.patch_embed(image)
        if self.pos_embed is not None:
            grid = x.shape[1:3]
            x = x + self.pos_embed(grid).unflatten(1, grid)
        return x, None

    def run_layer(self, index: int, x: Tensor, context: None) -> tuple[Tensor, Tensor]:
        """One layer; (B, H', W', C) to the same shape, twice the same."""
        x = run_block(self.layers[index], x, with_cp=self.with_cp)
        return x, x

    def output(self, index: int, x: Tensor, context: None) -> Tensor:
        """The map behind a layer, normed where that has a norm, channels-first at the border."""
        out = self.out_norms[str(index)](x) if str(index) in self.out_norms else x
        return out.permute(0, 3, 1, 2)

    def frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """The embeddings, the first layers and their output norms."""
        norms = [norm for i, norm in self.out_norms.items() if int(i) < self.frozen_stages]
        embeddings = [self.patch_embed] if self.pos_embed is None else [self.patch_embed, self.pos_embed]
        return [*embeddings, *self.layers[: self.frozen_stages], *norms]


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, one is missing, or a value is not one that exists.
    """
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, dict(norm=('LN', 'RMS')))
