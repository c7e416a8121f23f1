"""LocalVMamba: VMamba with windows among its routes, the best routes searched for each block.

Paper: Huang et al., "LocalMamba: Visual State Space Model with Windowed Selective Scan", 2024,
https://arxiv.org/abs/2403.09338. Authors' code: hunto/LocalMamba (Apache-2.0). Layout inside: channels-last.
"""

from collections.abc import Sequence

from mmmamba.layers import PatchEmbed, PatchMerging
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import PyramidBackbone, Stage, drop_path_rates
from mmmamba.models.backbones.vmamba import VMambaBlock
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

# The published names of the routes, in the order of the search.
ROUTES = {
    f'{name}{flip}': f'{route}{reverse}'
    for name, route in (('h', 'raster'), ('v', 'raster.transpose'), ('w2', 'window:2'), ('w7', 'window:7'))
    for flip, reverse in (('', ''), ('_flip', '.reverse'))
}
ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage
    # Of every block; or a list of routes for each block; or 'search', the supernet of all eight routes.
    routes=('raster', 'raster.reverse', 'window:2', 'window:2.reverse'),
    d_state=16,
    ssm_ratio=2.0,
    dt_rank='auto',
    conv_bias=True,
    patch_size=4,
    drop_path_rate=0.2,
)
# What every model of the family has in common with the first release of VMamba.
BLOCK = dict(gate=True, mlp_ratio=0.0, state_dropout=0.0, weight_norm=False)


def _routes(blocks: str) -> list[list[str]]:
    """The routes of each block, from the published names, ``f`` for ``_flip``, blocks separated by bars."""
    return [[ROUTES[name.replace('f', '_flip')] for name in block.split()] for block in blocks.split('|')]


def _arch(depths: list[int], routes: list[list[str]]) -> dict:
    return dict(embed_dims=[96, 192, 384, 768], depths=depths, routes=routes)


ARCH = {
    'tiny': _arch(
        [2, 2, 9, 2],
        _routes(
            'h hf w7 w7f | hf vf w2 w2f | hf vf w2f w7 | hf v vf w2 | h hf vf w2f | hf vf w2 w2f | h w2f w7 w7f | '
            'h hf v vf | h vf w7 w7f | hf v w2 w7f | v vf w2 w7f | h hf vf w2f | vf w2f w7 w7f | hf vf w2f w7f | '
            'hf v w7 w7f'
        ),
    ),
    'small': _arch(
        [2, 2, 27, 2],
        _routes(
            'h v vf w7f | h hf v w7 | hf v vf w7 | hf v w2f w7 | hf v w2f w7 | hf vf w2 w7f | hf v vf w7 | h v vf w7 | '
            'h v vf w7 | h v vf w7f | h hf v vf | h v vf w2 | v vf w2f w7 | h hf v w2 | hf v vf w7f | h hf v vf | '
            'h v vf w7f | h v vf w7f | h hf vf w7 | hf vf w2f w7 | hf v vf w7f | v vf w7 w7f | h v vf w7f | '
            'hf v vf w2 | h v vf w2f | h hf v w7 | h hf w7 w7f | h vf w2 w2f | h vf w2 w7 | h v vf w7f | hf v w2f w7 | '
            'hf vf w7 w7f | h v w7 w7f'
        ),
    ),
    # The models that the routes of tiny and small were searched with.
    'search_tiny': dict(embed_dims=[32, 64, 128, 256], depths=[2, 2, 9, 2], routes='search'),
    'search_small': dict(embed_dims=[32, 64, 128, 256], depths=[2, 2, 27, 2], routes='search'),
}


@MODELS.register_module()
class LocalVMamba(PyramidBackbone):
    """LocalVMamba backbone: images of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    Args:
        arch: ``tiny``, ``small``, the supernets ``search_tiny``, ``search_small``, or a dict with ``embed_dims`` and
            ``depths`` (a number per stage) and any other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: the scan of every block, as in ``VMamba``; None is that of the arch's routes.
        released_inverse: put column-major routes back as the released code does, which scrambles maps that are not
            square. The authors' detectors and segmentors were trained that way; nothing else should be.
        out_indices: stages whose maps are returned, each through a LayerNorm of its own; negative counts from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0; None is the published rate.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: if the arch, a stage index, ``frozen_stages`` or the drop path rate is not one of those that exist.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        in_channels: int = 3,
        scan: ScanSpec | None = None,
        released_inverse: bool = False,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        dims, depths = arch['embed_dims'], arch['depths']
        if scan is None:
            scan = local_scans(arch, released_inverse)
        elif released_inverse:
            raise ValueError(
                'released_inverse=True is for the routes of the arch; with a scan of your own leave it out'
            )
        rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], sum(depths))
        stages = []
        for i, depth in enumerate(depths):
            first = sum(depths[:i])
            layers = range(first, first + depth)
            blocks = [VMambaBlock(dims[i], arch | BLOCK, scan_of_layer(scan, n, depths), rates[n]) for n in layers]
            downsample = PatchMerging(*dims[i : i + 2]) if i + 1 < len(depths) else None
            stages.append(Stage(blocks, downsample, with_cp))
        super().__init__(
            *(PatchEmbed(in_channels, dims[0], arch['patch_size']), stages, dims),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
        )


def local_scans(arch: dict, released_inverse: bool) -> dict:
    """The scan of all blocks, or of each, of an arch: windows are filled up with zeros, as released."""
    options = dict(padded=True, released_inverse=released_inverse)
    if arch['routes'] == 'search':
        return dict(type='local_search', **options)
    if isinstance(arch['routes'][0], str):
        return dict(type='local', routes=arch['routes'], **options)
    return dict(type='per_layer', scans=[dict(type='local', routes=routes, **options) for routes in arch['routes']])


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, the stages do not agree, or there are no routes.
    """
    arch = base.resolve_arch(arch, ARCH, ARCH_DEFAULTS)
    routes = arch['routes']
    if not routes or (isinstance(routes, str) and routes != 'search'):
        raise ValueError(f"arch: routes {routes!r} is not 'search', a list of routes, or such a list for each block")
    return arch
