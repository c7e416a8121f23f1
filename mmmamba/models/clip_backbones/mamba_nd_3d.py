"""Mamba-ND on clips: plain Mamba layers, of which pairs walk a clip in one of three orders of its axes, there and back.

Paper and code as in ``backbones/mamba_nd.py``. Layout inside: channels-last (B, T, H, W, C).
"""

from collections.abc import Sequence

from mmmamba.layers import ClipEmbed
from mmmamba.models.backbones.base import resolve_arch
from mmmamba.models.backbones.mamba_nd import MambaND, MambaNDBackbone
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec

# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,
    num_layers=None,
    img_size=224,  # number or (height, width) and
    num_frames=32,  # of the clips that the position embedding is learned for; clips of any size are taken
    patch_size=16,
    patch_frames=2,
    d_state=16,
    d_conv=4,
    expand=2,
    out_norm_eps=1e-6,
    drop_path_rate=0.1,
)
ARCH = {
    'small': dict(embed_dims=384, num_layers=24),
    'small_k400': dict(embed_dims=384, num_layers=24, num_frames=16, patch_frames=1, drop_path_rate=0.35),
}


@MODELS.register_module()
class MambaND3D(MambaNDBackbone):
    """Mamba-ND backbone for clips: (B, in_channels, T, H, W) of any size to volumes (B, C, T', H', W').

    Layers come in pairs, forwards and backwards. A pair walks frame by frame and row by row, the next one frame by
    frame and column by column, the third column by column, row by row in it, and through time at every place; then
    again. Nothing is halved. A patch has 2 x 16 x 16 pixels, on Kinetics-400 1 x 16 x 16.

    As released what a layer adds passes a Dropout of 0.1, which the form for images has not.

    ``init_cfg=dict(type='mmmamba.Pretrained', checkpoint=...)`` also takes the weights of a ``MambaND`` of the same
    width, depth and patch size that halves no map, and inflates them to clips.

    Args:
        arch: a published architecture, ``small``, ``small_k400``, or a dict with ``embed_dims``, ``num_layers`` and any
            other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the clip.
        scan: the route of every layer, through volumes, or a schedule of such routes, as
            ``'alternating:raster_3d/hilbert_3d'``.
        out_indices: layers whose volumes are returned, each through a LayerNorm of its own; negative counts from the
            end.
        final_norm: whether the last layer's volume has such a norm.
        frozen_stages: -1 freezes nothing, 0 the embeddings, i the first i layers as well.
        drop_rate: of the embedded patches.
        mixer_drop_rate: of what a layer adds.
        drop_path_rate: of the last layer, growing linearly from 0; None is the architecture's rate.
        with_cp: recompute each layer in the backward pass to save memory.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: if the arch, the scan, a layer index, ``frozen_stages`` or a rate is not one of those that exist.
    """

    image_form = MambaND  # whose weights it can start from

    def __init__(
        self,
        arch: str | dict = 'small',
        *,
        in_channels: int = 3,
        scan: ScanSpec = 'mamba_nd_3d',
        out_indices: Sequence[int] = (-1,),
        final_norm: bool = True,
        frozen_stages: int = -1,
        drop_rate: float = 0.0,
        mixer_drop_rate: float = 0.1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch, ARCH, ARCH_DEFAULTS)
        height, width = (size, size) if isinstance(size := arch['img_size'], int) else size
        side = arch['patch_size']
        patch_embed = ClipEmbed(in_channels, arch['embed_dims'], (arch['patch_frames'], side, side))
        super().__init__(
            arch,
            patch_embed,
            patch_embed.grid(arch['num_frames'], height, width),
            scan=scan,
            out_indices=out_indices,
            final_norm=final_norm,
            frozen_stages=frozen_stages,
            drop_rate=drop_rate,
            mixer_drop_rate=mixer_drop_rate,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
