"""PlainMamba in a ViT-Adapter: the released detectors, whose backbones mix the names of both.

Source: the authors' names and arguments in ChenhongyiYang/PlainMamba at 0975a1d (downstream/mmdetection), and those of
the adapter's parts, which it takes over, in czczup/ViT-Adapter.
"""

from collections.abc import Iterable

from torch import Tensor

from mmmamba.checkpoints import arguments, plain_mamba
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.whole_model import backbone_prefixed, join_backbone, split_backbone
from mmmamba.models.adapters.vit_adapter import equal_runs

ATTENTION = tuple(
    (f'{part}.**', f'{part}.**')
    for part in (
        *('query_norm', 'feat_norm'),
        *(f'attn.{linear}' for linear in ('sampling_offsets', 'attention_weights', 'value_proj', 'output_proj')),
    )
)
EXTRACTOR = (
    *ATTENTION,
    ('ffn.fc1.**', 'ffn.fc1.**'),
    ('ffn.dwconv.dwconv.**', 'ffn.dwconv.**'),
    ('ffn.fc2.**', 'ffn.fc2.**'),
    ('ffn_norm.**', 'ffn_norm.**'),
)
EXTRACTORS = {'extractor': 0, 'extra_extractors.0': 1, 'extra_extractors.1': 2}
PARTS: Pairs = (
    ('level_embed', 'level_embed'),
    *(
        (f'spm.stem.{3 * i + j}.**', f'prior.stem.{i}.{j}.**')  # convolution, norm and activation, three times
        for i in range(3)
        for j in range(2)
    ),
    *((f'spm.conv{i + 2}.{j}.**', f'prior.convs.{i}.{j}.**') for i in range(3) for j in range(2)),
    *((f'spm.fc{i + 1}.**', f'prior.projs.{i}.**') for i in range(4)),
    ('interactions.*.injector.gamma', 'injectors.*.gamma'),
    *((f'interactions.*.injector.{old}', f'injectors.*.{new}') for old, new in ATTENTION),
    *(
        (f'interactions.*.{extractor}.{old}', f'extractors.*.{place}.{new}')
        for extractor, place in EXTRACTORS.items()
        for old, new in EXTRACTOR
    ),
    ('up.**', 'up.**'),
    *((f'ad_norm{i + 1}.**', f'out_norms.{i}.**') for i in range(4)),
)
PUBLISHED_ROOTS = ('level_embed', 'spm.', 'interactions.', 'up.', 'ad_norm')


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    names = list(names)
    return plain_mamba.is_published(names) and any(name.startswith('interactions.') for name in names)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict of a backbone with its adapter under our names and shapes.

    Raises:
        CheckpointError: if a name has no place in a key map.
    """
    adapter = {name: tensor for name, tensor in published.items() if name.startswith(PUBLISHED_ROOTS)}
    trunk = {name: tensor for name, tensor in published.items() if name not in adapter}
    renamed = rename(adapter, PARTS, 'published ViT-Adapter')
    return backbone_prefixed({**plain_mamba.to_ours(trunk), **renamed})


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Raises:
        CheckpointError: if a name has no place in a key map.
    """
    backbone, around = split_backbone(ours)
    trunk, adapter = split_backbone(backbone)
    first, *rest = plain_mamba.key_map(indices(trunk, 'layers')[-1])
    pairs = (first, PARTS[0], *rest, *PARTS[1:])  # what the model itself holds comes before what its modules hold
    published = {
        **plain_mamba.to_published(backbone_prefixed(trunk)),
        **rename(adapter, reverse(PARTS), 'ViTAdapter'),
    }
    return join_backbone(in_order_of(pairs, published), around)


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``PlainMamba``'s ``arch`` that show in shapes.

    Raises:
        KeyError: if a tensor that such a model must have is missing.
    """
    backbone = split_backbone(ours)[0]
    if 'level_embed' not in backbone:
        raise KeyError('level_embed')
    return plain_mamba.arch_from_shapes(backbone)


PUBLISHED_DEFAULTS = dict(
    conv_inplane=64, n_points=4, deform_num_heads=6, init_values=0.0, interaction_indexes=(), with_cffn=True,
    cffn_ratio=0.25, deform_ratio=1.0, add_vit_feature=True, use_extra_extractor=True, pretrain_size=224,
    num_classes=80,
)  # fmt: skip
SUPPORTED = dict(with_cffn=(True,), add_vit_feature=(True,), use_extra_extractor=(True,))


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the backbone of a published call.

    Args:
        constructor: ``'PlainMambaAdapter'``.
        kwargs: the published keyword arguments, those of PlainMamba among them.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    own = {name: value for name, value in kwargs.items() if name in PUBLISHED_DEFAULTS}
    trunk = {name: value for name, value in kwargs.items() if name not in own}
    args = arguments.published_arguments(constructor, own, PUBLISHED_DEFAULTS, supported=SUPPORTED)
    backbone = plain_mamba.model_config('PlainMamba', trunk)
    runs = [range(first, last + 1) for first, last in args['interaction_indexes']]
    depth = backbone['arch']['num_layers']
    if not runs or runs != equal_runs(depth, len(runs)):
        raise ValueError(
            f'{constructor}: published interaction_indexes={args["interaction_indexes"]!r} is not supported; '
            f'expected {depth} layers in equal runs'
        )
    return dict(
        type='mmmamba.ViTAdapter',
        backbone=backbone,
        num_interactions=len(runs),
        num_heads=args['deform_num_heads'],
        num_points=args['n_points'],
        stem_dims=args['conv_inplane'],
        ffn_ratio=args['cffn_ratio'],
        value_ratio=args['deform_ratio'],
        layer_scale=args['init_values'],
        drop_path_rate=backbone['drop_path_rate'],
    )


VIT_ADAPTER = Family(
    name='plain_mamba_adapter',
    backbone='ViTAdapter(PlainMamba)',
    stems=('backbone.patch_embed.stem.0.weight', 'prior.stem.0.0.weight'),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=plain_mamba.describe_arch,
    model_config=model_config,
)
