"""Names of the trunk that GroupMamba, SiMBA and Heracles share: stages counted from 1, each with a norm behind it."""

from collections.abc import Iterable, Mapping

from mmmamba.checkpoints.arguments import classifier_config
from mmmamba.checkpoints.family import Weights
from mmmamba.checkpoints.key_map import Pairs
from mmmamba.checkpoints.ss2d import under

STEM: Pairs = (('conv.**', 'convs.**'), ('proj.**', 'proj.**'), ('norm.**', 'norm.**'))
DOWNSAMPLE: Pairs = (('proj.**', 'conv.**'), ('norm.**', 'norm.**'))


def trunk(block: Pairs, stages: int, last_norm: str) -> Pairs:
    """``(published, ours)`` names of stem, blocks, downsampling and norms, in the authors' order.

    Args:
        block: names in a block.
        stages: how many there are.
        last_norm: ours of the norm behind the last stage.
    """
    pairs = [*under('patch_embed1', 'backbone.patch_embed', STEM)]
    for i in range(stages):
        if i:
            pairs += under(f'patch_embed{i + 1}', f'backbone.stages.{i - 1}.downsample', DOWNSAMPLE)
        pairs += under(f'block{i + 1}.*', f'backbone.stages.{i}.blocks.*', block)
        norm = last_norm if i == stages - 1 else f'backbone.stages.{i}.norm'
        pairs.append((f'norm{i + 1}.**', f'{norm}.**'))
    return tuple(pairs)


def classifier_trunk(block: Pairs, class_block: Pairs, stages: int, is_classifier: bool) -> Pairs:
    """The names of a trunk and of the class block and two linear layers of a classifier with token labels.

    Args:
        block: names in a block.
        class_block: names in the class block.
        stages: how many there are.
        is_classifier: the last norm is then in the head, behind the class block.
    """
    return (
        *trunk(block, stages, 'head.norm' if is_classifier else f'backbone.out_norms.{stages - 1}'),
        *under('post_network.0', 'head.class_block', class_block),
        ('head.**', 'head.classifier.fc.**'),
        ('aux_head.**', 'head.aux_fc.**'),
    )


def with_class_block(backbone: dict, class_block: dict, args: Mapping) -> dict:
    """The config of a classifier whose head has a class block and, with token labels, a second linear layer.

    Args:
        backbone: its config but for what all say alike.
        class_block: its config but for ``embed_dims`` and ``mlp_ratio``.
        args: the authors' arguments, complete.
    """
    channels, ratios = backbone['arch']['embed_dims'][-1], backbone['arch']['mlp_ratios']
    backbone = dict(
        backbone,
        in_channels=args['in_chans'],
        drop_path_rate=args['drop_path_rate'],
        out_indices=(-1,),
        final_norm=False,
    )
    config = classifier_config(backbone, args['num_classes'], channels)
    head = dict(
        type='mmmamba.ClassBlockHead',
        classifier=config['head'],
        class_block=dict(class_block, embed_dims=channels, mlp_ratio=ratios[-1]),
        token_label=args['token_label'],
    )
    return {**config, 'neck': None, 'head': head}


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any(name.startswith('block1.') for name in names)


def count_stages(published: Weights) -> int:
    """How many stages a state dict of the authors has."""
    return sum(f'patch_embed{i + 1}.proj.weight' in published for i in range(len(published)))
