"""LocalVim: the released classifiers, and the backbones of the released detectors and segmentors.

Source: the authors' names and shapes in hunto/LocalMamba at 75e5d1f.
"""

from collections.abc import Iterable

from torch import Tensor

from mmmamba.checkpoints import arguments, vim
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.bidirectional import layer_pairs, layers_from_shapes
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.local_vmamba import route, with_true_inverse
from mmmamba.checkpoints.whole_model import split_backbone
from mmmamba.models.backbones.local_vim import ARCH, ARCH_DEFAULTS, resolve_arch
from mmmamba.models.backbones.local_vmamba import ROUTES

GATE = (('norm', 'norm'), ('global_reduce', 'fc1'), ('channel_select', 'fc2'))
LOGITS = 'multi_scan.weights'  # (K, 1, 1, 1) there, (K,) here


def layer(routes: int) -> Pairs:
    """``(published, ours)`` names of one layer."""
    states = ((f'mixer.{name}_{i}', f'mixer.branches.{i}.{name}') for i in range(routes) for name in ('A_log', 'D'))
    branches = (
        pair
        for i in range(routes)
        for pair in (
            (f'mixer.conv1d_{i}.**', f'mixer.branches.{i}.conv.**'),
            (f'mixer.x_proj_{i}.weight', f'mixer.branches.{i}.x_proj_weight'),
            (f'mixer.dt_proj_{i}.weight', f'mixer.branches.{i}.dt_proj_weight'),
            (f'mixer.dt_proj_{i}.bias', f'mixer.branches.{i}.dt_proj_bias'),
        )
    )
    return (
        *states,
        ('mixer.in_proj.**', 'mixer.in_proj.**'),
        (f'mixer.{LOGITS}', 'mixer.route_logits'),
        *branches,
        ('mixer.out_proj.**', 'mixer.out_proj.**'),
        *((f'mixer.attn.{old}.**', f'mixer.gate.{new}.**') for old, new in GATE),
        ('norm.**', 'norm.**'),
    )


def key_map(layers: int, routes: int, has_head: bool) -> Pairs:
    """``(published, ours)`` names of a whole model in the authors' order."""
    embeddings = vim.key_map(layers - 1, has_head)[:6]
    return (*embeddings, *layer_pairs(layer(routes), layers - 1, has_head))


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any(name.endswith('.mixer.x_proj_0.weight') for name in names)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names and shapes.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    pairs = key_map(len(indices(published, 'layers')), len(ROUTES), has_head=True)
    ours = rename(published, pairs, 'published LocalVim')
    return {name: tensor.flatten() if name.endswith('.route_logits') else tensor for name, tensor in ours.items()}


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    routes = max(8, len(indices(ours, 'backbone.layers.0.mixer.branches')))
    pairs = key_map(len(indices(ours, 'backbone.layers')), routes, 'head.fc.weight' in ours)
    published = in_order_of(pairs, rename(ours, reverse(pairs), 'LocalVim'))
    return {name: tensor.view(-1, 1, 1, 1) if name.endswith(LOGITS) else tensor for name, tensor in published.items()}


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``LocalVim``'s ``arch`` that show in shapes: not the routes.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    backbone = split_backbone(ours)[0]
    backbone['layers.0.mixer.gate.fc1.weight']  # tells it from Vim
    return dict(
        layers_from_shapes(backbone),
        patch_size=backbone['patch_embed.conv.weight'].shape[-1],
        pos_embed='pos_embed.weight' in backbone,
        rope='rope.cos' in backbone,
    )


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    img_size=224, patch_size=16, depth=24, embed_dim=192, channels=3, num_classes=1000, ssm_cfg=None,
    drop_path_rate=0.1, norm_epsilon=1e-5, rms_norm=False, pt_hw_seq_len=14, final_pool_type='none',
    if_abs_pos_embed=False, if_rope=False, if_rope_residual=False, bimamba_type='none', if_cls_token=False,
    use_middle_cls_token=False, directions=None, mamba_cls='MultiMamba',
)  # fmt: skip
SUPPORTED = dict(final_pool_type=('none', 'mean'), bimamba_type=('none', 'v2'), mamba_cls=('multimamba',))
# They decide speed or initial values only, or are not looked at.
IRRELEVANT = ('initializer_cfg', 'fused_add_norm', 'residual_in_fp32', 'mixer')


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call, with the released inverse of column-major routes.

    Args:
        constructor: ``'VisionMamba'`` or one of the released sizes' names.
        kwargs: the published keyword arguments.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = arguments.published_arguments(
        'LocalVim', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT
    )
    arch = dict(
        embed_dims=args['embed_dim'],
        num_layers=args['depth'],
        routes=_routes(args['directions'], args['depth']),
        img_size=args['img_size'],
        patch_size=args['patch_size'],
        pos_embed=args['if_abs_pos_embed'],
        class_token=vim.class_token(dict(args, use_double_cls_token=False)),
        pool='mean' if args['final_pool_type'] == 'mean' else 'last',
        rope=args['if_rope'],
        rope_residual=args['if_rope_residual'],
        rope_length=args['pt_hw_seq_len'],
        norm='RMS' if args['rms_norm'] else 'LN',
        norm_eps=args['norm_epsilon'],
        **vim.mixer_arch('LocalVim', args),
    )
    config = vim.classifier_config('LocalVim', {k: v for k, v in arch.items() if v != ARCH_DEFAULTS[k]}, args)
    config['backbone']['released_inverse'] = True
    return config


def _routes(directions: list[list[str]] | None, layers: int) -> str | list[list[str]]:
    return 'search' if directions is None else [[route(name) for name in names] for names in directions[:layers]]


LOCAL_VIM = Family(
    name='local_vim',
    backbone='LocalVim',
    stems=('patch_embed.conv.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
    variants={'_true_inverse': with_true_inverse},
)
