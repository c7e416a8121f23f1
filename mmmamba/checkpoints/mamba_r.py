"""Mamba-R: the released classifiers.

Source: the authors' names and shapes in wangf3014/Mamba-Reg at 0f7c2da.
"""

from torch import Tensor

from mmmamba.checkpoints import arguments, vim
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.bidirectional import LAYER, layer_pairs, layers_from_shapes
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.whole_model import split_backbone
from mmmamba.models.backbones.mamba_r import ARCH, ARCH_DEFAULTS, resolve_arch


def key_map(last_layer: int, has_head: bool) -> Pairs:
    """``(published, ours)`` names of a whole model in the authors' order."""
    return (
        ('cls_token', 'backbone.cls_tokens.weight'),
        ('pos_embed_cls', 'backbone.register_embed'),
        ('pos_embed', 'backbone.pos_embed.weight'),
        ('patch_embed.proj.**', 'backbone.patch_embed.conv.**'),
        ('neck.**', 'neck.proj.**'),
        ('norm_neck.**', 'neck.norm.**'),
        ('head.**', 'head.fc.**'),
        *layer_pairs(LAYER, last_layer, has_head),
    )


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    return rename(published, key_map(indices(published, 'layers')[-1], has_head=True), 'published Mamba-R')


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    pairs = key_map(indices(ours, 'backbone.layers')[-1], 'head.fc.weight' in ours)
    return in_order_of(pairs, rename(ours, reverse(pairs), 'Mamba-R'))


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``MambaR``'s ``arch`` that show in shapes.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    backbone = split_backbone(ours)[0]
    return dict(
        layers_from_shapes(backbone),
        registers=backbone['register_embed'].shape[1],
        patch_size=backbone['patch_embed.conv.weight'].shape[-1],
    )


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    img_size=224, patch_size=16, depth=24, embed_dim=192, channels=3, num_classes=1000, ssm_cfg=None,
    drop_path_rate=0.1, norm_epsilon=1e-5, rms_norm=True, num_cls_tokens=1, cls_reduce=1,
)  # fmt: skip
# They decide speed or initial values only, or follow from the others.
IRRELEVANT = (
    'initializer_cfg', 'fused_add_norm', 'residual_in_fp32', 'mixer', 'token_idx', 'cls_positions',
)  # fmt: skip


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'VisionMamba'`` or one of the released sizes' names.
        kwargs: the published keyword arguments.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = arguments.published_arguments('Mamba-R', kwargs, PUBLISHED_DEFAULTS, supported={}, irrelevant=IRRELEVANT)
    norm = 'RMS' if args['rms_norm'] else 'LN'
    dims, registers, reduction = args['embed_dim'], args['num_cls_tokens'], args['cls_reduce']
    arch = dict(
        embed_dims=dims,
        num_layers=args['depth'],
        registers=registers,
        img_size=args['img_size'],
        patch_size=args['patch_size'],
        norm=norm,
        norm_eps=args['norm_epsilon'],
        **vim.mixer_arch('Mamba-R', args),
    )
    config = vim.classifier_config('MambaR', {k: v for k, v in arch.items() if v != ARCH_DEFAULTS[k]}, args)
    config['head']['in_channels'] = registers * (dims // reduction)
    neck = dict(
        type='mmmamba.RegisterNeck', in_channels=dims, num_registers=registers, reduction=reduction, norm=norm,
        eps=args['norm_epsilon'],
    )  # fmt: skip
    return dict(config, neck=neck)


MAMBA_R = Family(
    name='mamba_r',
    backbone='MambaR',
    stems=('patch_embed.conv.weight',),
    is_published=vim.is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
