"""FractalMamba: VMamba along Hilbert curves.

Paper: Tang et al., "Scalable Visual State Space Model with Fractal Scanning", 2024, https://arxiv.org/abs/2405.14480.
From the paper: the authors' repository (hkxiao/Fractal-Mamba) holds no code. Layout inside: channels-last (B, H, W, C).
"""

from collections.abc import Sequence

from mmmamba.models.backbones import base, vmamba
from mmmamba.models.backbones.vmamba import VMamba
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec

# Depths and widths are not printed; 30 M parameters and 4.8 G FLOPs are those of VMamba-T in this form.
ARCH = {'tiny': vmamba.ARCH['tiny_s1l8']}


@MODELS.register_module()
class FractalMamba(VMamba):
    """FractalMamba backbone: (B, in_channels, H, W) of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4 to 32.

    The blocks of VMamba, but the four routes of a block are a Hilbert curve, its transpose and both reversed; every
    second block has a shifted curve, whose quadrants meet elsewhere. Curves are cut for the map at hand, of any size.

    Args:
        arch: ``tiny``, or a dict with ``embed_dims``, ``depths`` (a number per stage) and any other keys of VMamba's.
        in_channels: channels of the image.
        scan: as for :class:`VMamba`; ``'fractal'`` is the schedule described above.
        out_indices: stages whose maps are returned, each through a LayerNorm of its own; negative counts from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0; None is the architecture's.
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
        scan: ScanSpec = 'fractal',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            base.resolve_arch(arch, ARCH, vmamba.ARCH_DEFAULTS),
            in_channels=in_channels,
            scan=scan,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
