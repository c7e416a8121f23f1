"""What every backbone says and does alike: architecture tables, output indices, freezing, drop path rates, stages."""

from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from mmmamba.layers import NORMS, LayerNorm
from mmmamba.models.backbones.arch_values import check_values

EMBEDDING_DEPTHS = dict.fromkeys(('patch_embed', 'pos_embed', 'cls_token', 'cls_tokens', 'register_embed'), 0)


class Backbone(BaseModule):
    """Contract of a backbone: ``out_indices``, ``frozen_stages``, and modules that stay frozen in ``train()``.

    A subclass builds its modules, then calls :meth:`freeze`. One without ``patch_embed``, ``stages`` and ``out_norms``
    says in :meth:`frozen_parts` what its stages are made of; one without ``layers`` says in :meth:`depths` what its
    blocks are.

    Args:
        stages: number of stages, or of layers where each of them can be an output.
        out_indices: outputs wanted, counted from 0, negative from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, i the first i stages as well.
        init_cfg: mmengine initialisation.

    Raises:
        TypeError: if ``out_indices`` is not a sequence of integers, or ``frozen_stages`` no integer.
        ValueError: if an index or ``frozen_stages`` is not one of those that exist.
    """

    def __init__(
        self, stages: int, *, out_indices: Sequence[int], frozen_stages: int = -1, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.out_indices = resolve_out_indices(out_indices, stages)
        if not _is_index(frozen_stages):
            raise TypeError(
                f'frozen_stages {frozen_stages!r} is not an integer; give one from -1 (none) to {stages} (all)'
            )
        if not -1 <= frozen_stages <= stages:
            raise ValueError(f'frozen_stages {frozen_stages!r} is not between -1 (none) and {stages} (all stages)')
        self.frozen_stages = frozen_stages

    def frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """What ``frozen_stages`` of 0 or more freezes."""
        norms = [norm for i, norm in self.out_norms.items() if int(i) < self.frozen_stages]
        return [self.patch_embed, *self.stages[: self.frozen_stages], *norms]

    def blocks(self) -> list[nn.Module]:
        """What is repeated, in order: the units that sharding wraps."""
        return list(self.layers)

    def depths(self) -> dict[str, int]:
        """Names of what stands at a depth of its own: 0 what comes before the blocks, i the i-th of them, from 1."""
        return {**EMBEDDING_DEPTHS, **{f'layers.{i}': i + 1 for i in range(len(self.layers))}}

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Where a parameter stands, for learning rates that decay with depth; mmpretrain's name for it.

        Args:
            param_name: its name in a model.
            prefix: that of this backbone in the model, ``'backbone.'``.

        Returns:
            Its depth, and how many there are. What follows the blocks, and other parts of the model, have the last.
        """
        depths = self.depths()
        last = max(depths.values()) + 1
        if not param_name.startswith(prefix):
            return last, last + 1
        name = param_name.removeprefix(prefix)
        while name and name not in depths:
            name = name.rpartition('.')[0]
        return depths.get(name, last), last + 1

    def freeze(self) -> None:
        """Put the frozen parts into evaluation mode and take them out of training."""
        for part in self.frozen_parts() if self.frozen_stages >= 0 else ():
            part.requires_grad_(False)
            if isinstance(part, nn.Module):
                part.eval()

    def train(self, mode: bool = True) -> 'Backbone':
        """As in PyTorch; frozen parts stay in evaluation mode."""
        super().train(mode)
        self.freeze()
        return self


class PreNormBlock(nn.Module):
    """``x + mixer(LN(x))``, then ``x + mlp(LN(x))``; (..., embed_dims) to the same shape.

    Args:
        embed_dims: channels.
        mixer: of the pixels.
        mlp: of the channels.
        eps: of the two norms.
        drop_path_rate: of both branches.
    """

    def __init__(
        self,
        embed_dims: int,
        mixer: nn.Module,
        mlp: nn.Module,
        *,
        eps: tuple[float, float] = (1e-5, 1e-5),
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(embed_dims, eps[0], narrow=True)
        self.mixer = mixer
        self.norm2 = LayerNorm(embed_dims, eps[1], narrow=True)
        self.mlp = mlp
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mixer(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """Blocks at one resolution, and the downsampling that leads to the next stage (none in the last)."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None, with_cp: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = run_block(block, x, with_cp=self.with_cp)
        return x


class NormedStage(Stage):
    """Blocks and, unless it is the last stage, a norm behind them, through which both output and next stage pass."""

    def __init__(
        self, blocks: Sequence[nn.Module], downsample: nn.Module | None, with_cp: bool, embed_dims: int
    ) -> None:
        super().__init__(blocks, downsample, with_cp)
        self.norm = nn.Identity() if downsample is None else LayerNorm(embed_dims, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class PyramidBackbone(Backbone):
    """A patch embedding and stages of falling resolution: image (B, C, H, W) to a tuple of (B, C_i, H_i, W_i) maps.

    Args:
        patch_embed: from the image to the first channels-last map.
        stages: each with the downsampling behind it.
        embed_dims: channels of each stage.
        out_indices: stages whose maps are returned, each through a norm of its own, before the downsampling.
        frozen_stages: as in :class:`Backbone`.
        out_norm: name of these norms.
        normed: the stages that have one; None is all.
        init_cfg: mmengine initialisation.
    """

    def __init__(
        self,
        patch_embed: nn.Module,
        stages: Sequence[Stage],
        embed_dims: Sequence[int],
        *,
        out_indices: Sequence[int],
        frozen_stages: int,
        out_norm: str = 'LN',
        normed: Collection[int] | None = None,
        init_cfg: dict | None,
    ) -> None:
        if out_norm not in NORMS:
            raise ValueError(f'out_norm {out_norm!r} is not one of {sorted(NORMS)}')
        super().__init__(len(stages), out_indices=out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg)
        self.patch_embed = patch_embed
        self.stages = nn.ModuleList(stages)
        normed = [i for i in self.out_indices if normed is None or i in normed]
        self.out_norms = nn.ModuleDict({str(i): NORMS[out_norm](embed_dims[i]) for i in normed})
        self.apply(init_linear)
        self.freeze()

    def blocks(self) -> list[nn.Module]:
        """Those of all stages, in order."""
        return [block for stage in self.stages for block in stage.blocks]

    def depths(self) -> dict[str, int]:
        """As in :class:`Backbone`; what else a stage has, as its downsampling, stands with its last block."""
        found, count = dict(EMBEDDING_DEPTHS), 0
        for i, stage in enumerate(self.stages):
            found |= {f'stages.{i}.blocks.{j}': count + j + 1 for j in range(len(stage.blocks))}
            count += len(stage.blocks)
            found[f'stages.{i}'] = count
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.patch_embed(x)  # (B, C, H, W) -> (B, H_0, W_0, C_0)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)  # (B, H_i, W_i, C_i)
            if i in self.out_indices:
                out = self.out_norms[str(i)](x) if str(i) in self.out_norms else x
                outs.append(out.permute(0, 3, 1, 2))  # channels-first at the border
            if i == self.out_indices[-1]:
                break
            x = stage.downsample(x)
        return tuple(outs)


def run_block(block: nn.Module, *inputs: Tensor, with_cp: bool) -> Tensor:
    """``block(*inputs)``; with ``with_cp`` the backward pass computes it again instead of keeping what it saved."""
    if with_cp and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def resolve_arch(
    arch: str | Mapping,
    published: Mapping[str, Mapping],
    defaults: Mapping,
    choices: Mapping[str, Collection] | None = None,
    *,
    per_stage: Collection[str] = (),
) -> dict:
    """Every key of ``defaults`` for a published name or a dict.

    Args:
        arch: a backbone's argument.
        published: its table of architectures.
        defaults: what a dict may say, and what holds where it does not; None where it has to.
        choices: values that exist, for keys with few of them.
        per_stage: keys whose value has a number for each stage, beside ``embed_dims`` and ``depths``.

    Raises:
        TypeError: if it is neither.
        ValueError: if the name or a key is unknown, one is missing, a value is not one that exists, or the stages do
            not agree.
    """
    keys, names = ', '.join(defaults), sorted(published)
    if not isinstance(arch, str | Mapping):
        raise TypeError(f'arch {arch!r} is not a name or a dict; name one of {names} or pass a dict with {keys}')
    if isinstance(arch, str):
        if arch not in published:
            raise ValueError(f'arch {arch!r} is not one of {names}; name one of them or pass a dict with {keys}')
        arch = published[arch]
    unknown = sorted(set(arch) - set(defaults))
    if unknown:
        raise ValueError(f'arch has the unknown keys {unknown}; it may have {list(defaults)}')
    arch = {**defaults, **arch}
    if {'embed_dims', 'depths'} <= set(defaults):
        check_stages(arch)
    missing = [key for key, value in arch.items() if value is None and defaults[key] is None]
    if missing:
        raise ValueError(f'arch needs a value for {missing}, got {arch}')
    check_values(arch)
    for key, known in (choices or {}).items():
        if arch[key] not in known:
            raise ValueError(f'arch: {key} {arch[key]!r} is not one of {sorted(known)}')
    for key in per_stage:
        if len(arch[key]) != len(arch['depths']):
            raise ValueError(f'arch: {key} {arch[key]} needs a number for each of {len(arch["depths"])} stages')
    return arch


def check_stages(arch: Mapping) -> None:
    """Refuse an arch whose ``embed_dims`` and ``depths`` are not lists of one length.

    Raises:
        ValueError: if they are not.
    """
    dims, depths = (arch[key] if isinstance(arch[key], Sequence) else () for key in ('embed_dims', 'depths'))
    if not dims or len(dims) != len(depths):
        raise ValueError(
            'arch needs embed_dims and depths with a number for each stage, '
            f'got embed_dims={arch["embed_dims"]} and depths={arch["depths"]}'
        )


def resolve_out_indices(out_indices: Sequence[int], stages: int) -> tuple[int, ...]:
    """Output indices counted from 0, ascending, each once.

    Args:
        out_indices: as a config gives them, negative from the end.
        stages: how many stages, or layers, there are.

    Raises:
        TypeError: if they are not a sequence of integers.
        ValueError: if one does not exist, or there is none.
    """
    if _is_index(out_indices):
        raise TypeError(
            f'out_indices {out_indices!r} is not a sequence of integers; write out_indices=({out_indices},)'
        )
    if isinstance(out_indices, str) or not isinstance(out_indices, Sequence) or not all(map(_is_index, out_indices)):
        raise TypeError(
            f'out_indices {out_indices!r} is not a sequence of integers; '
            f'write the stages whose maps are wanted, such as out_indices=({stages - 1},)'
        )
    resolved = sorted({i + stages if i < 0 else i for i in out_indices})
    if not resolved or resolved[0] < 0 or resolved[-1] >= stages:
        raise ValueError(f'out_indices {tuple(out_indices)} must name at least one of the stages 0 to {stages - 1}')
    return tuple(resolved)


def _is_index(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def drop_path_rates(drop_path_rate: float | None, default: float, layers: int) -> list[float]:
    """Stochastic depth of each layer, growing linearly from 0.

    Args:
        drop_path_rate: that of the last layer; None is ``default``.
        default: the architecture's published rate.
        layers: through all stages.

    Raises:
        TypeError: if the rate is not a number.
        ValueError: if it is not between 0 and 1.
    """
    rate = default if drop_path_rate is None else drop_path_rate
    if not isinstance(rate, Real):
        raise TypeError(
            f'drop_path_rate {rate!r} is not a number; give one from 0 to 1, or None for the published rate'
        )
    if not 0 <= rate <= 1:
        raise ValueError(f'drop_path_rate {rate!r} is not between 0 and 1')
    return [rate * i / max(1, layers - 1) for i in range(layers)]


def init_linear(module: nn.Module) -> None:
    """For ``Module.apply``: truncated normal weights of std 0.02, biases of 0, in every Linear."""
    if isinstance(module, nn.Linear):
        if is_parametrized(module, 'weight'):  # weight normalisation takes the value apart on assignment
            module.weight = nn.init.trunc_normal_(module.weight.detach(), std=0.02)
        else:
            nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
