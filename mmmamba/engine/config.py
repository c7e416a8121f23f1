"""Reading a config and turning command-line flags into config entries, the same for mmdet, mmseg and mmpretrain."""

import copy
import os
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.utils import import_modules_from_strings

from mmmamba.engine.config_files import find_config
from mmmamba.errors import UserError

LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain')
DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Test-time augmentation by flipping, where a config says nothing else.
FLIP_TTA = {
    'mmdet': dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
    'mmseg': dict(type='mmseg.SegTTAModel'),
    'mmpretrain': dict(type='mmpretrain.AverageClsScoreTTA'),
}


class ConfigOptions(DictAction):
    """``--cfg-options key.sub=value ...`` of mmengine; what it cannot read is an error of one line."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the options to ``namespace``."""
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError, ValueError):
            parser.error(
                f'{option_string} cannot be read: {" ".join(values)}; expected key.sub=value with numbers, words, '
                'a,b or [a,b] as values. For a dict, set its keys one by one: key.type=... key.sub=...'
            )


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config of mmdet, mmseg or mmpretrain.

    Args:
        path: the file, or the name of a config of ours.
        options: entries that override it, by dotted name, as ``--cfg-options`` gives them.

    Returns:
        The config; its ``default_scope`` names the library, its ``work_dir`` is set.

    Raises:
        UserError: if the file is missing, cannot be parsed, or names none of the three libraries.
    """
    path = str(find_config(path))
    try:
        cfg = Config.fromfile(path)
    except (ImportError, KeyError, OSError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(f'config {path!r} cannot be read: {type(error).__name__}: {error}') from error
    try:
        cfg.merge_from_dict(copy.deepcopy(options or {}))
        if 'custom_imports' in cfg:  # again: the options may name others
            import_modules_from_strings(**cfg.custom_imports)
    except (ImportError, KeyError, TypeError) as error:
        raise UserError(f'--cfg-options do not fit {path!r}: {error}') from error
    if cfg.get('default_scope') not in LIBRARIES:
        raise UserError(
            f'config {path!r} has default_scope={cfg.get("default_scope")!r}; set it to one of {", ".join(LIBRARIES)}, '
            'the library whose models, datasets and transforms it names'
        )
    if cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    if cfg.default_scope == 'mmpretrain':
        _set_dataloader_defaults(cfg)
    if cfg.get('deterministic'):
        _make_deterministic(cfg)
    if cfg.get('strategy', {}).get('type') == 'DeepSpeedStrategy':
        _hand_over_to_deepspeed(cfg)
    return cfg


def enable_amp(cfg: Config) -> None:
    """Train in bf16; on GPUs without bf16, in fp16 with a dynamic loss scale."""
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    else:
        cfg.optim_wrapper.type = 'mmmamba.AutocastOptimWrapper'


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate by the actual over the intended batch size.

    Raises:
        UserError: if the config does not say which batch size its learning rate is for.
    """
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise UserError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config, the batch size over all '
            'GPUs that its learning rate is for'
        )
    cfg.auto_scale_lr.enable = True


def enable_tta(cfg: Config) -> None:
    """Wrap the model for test-time augmentation: the config's ``tta_model`` and ``tta_pipeline``, else a flip.

    Raises:
        UserError: for an instance segmentor, whose masks mmdet cannot merge.
    """
    if 'mask_head' in cfg.model.get('roi_head', {}):
        raise UserError(
            '--tta: mmdet merges the boxes of augmented images but not the masks, and this model has a mask_head; '
            'evaluate it without --tta'
        )
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    pipeline = cfg.get('tta_pipeline')
    if pipeline is None:
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        pack = copy.deepcopy(dataset.pipeline[-1])
        if cfg.default_scope == 'mmdet':  # boxes are merged in the frame of the original image
            pack.meta_keys = (*pack.get('meta_keys', ()), 'flip', 'flip_direction')
        pipeline = [*dataset.pipeline[:-1], dict(type='TestTimeAug', transforms=[flips, [pack]])]
    dataset.pipeline = pipeline
    cfg.model = ConfigDict(**cfg.get('tta_model', FLIP_TTA[cfg.default_scope]), module=cfg.model)


def draw_predictions(cfg: Config, folder: str) -> None:
    """Write a picture of each test image with its predictions.

    Args:
        cfg: the config, changed in place.
        folder: where the pictures go; mmseg makes ``vis_data/vis_image`` inside it.
    """
    folder = str(Path(folder).resolve())
    kinds = dict(mmdet='DetVisualizationHook', mmseg='SegVisualizationHook', mmpretrain='VisualizationHook')
    hook = cfg.get('default_hooks', {}).get('visualization', dict(type=kinds[cfg.default_scope]))
    if cfg.default_scope == 'mmdet':
        hook = {**hook, 'draw': True, 'test_out_dir': folder}
    elif cfg.default_scope == 'mmseg':
        hook = {**hook, 'draw': True}
        cfg.visualizer.save_dir = folder
    else:
        hook = {**hook, 'enable': True, 'interval': 1, 'out_dir': folder}
    cfg.merge_from_dict({'default_hooks.visualization': hook})


def _make_deterministic(cfg: Config) -> None:
    randomness = cfg.get('randomness') or {}
    seed = randomness.get('seed')
    cfg.randomness = dict(randomness, seed=0 if seed is None else seed, deterministic=True)
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # read by cuBLAS when it starts


def _hand_over_to_deepspeed(cfg: Config) -> None:
    """DeepSpeed clips and accumulates by itself; its wrapper takes no such arguments."""
    wrapper = cfg.optim_wrapper
    wrapper.type = 'DeepSpeedOptimWrapper'
    clip = wrapper.pop('clip_grad', None)
    if clip is not None:
        cfg.strategy.gradient_clipping = clip['max_norm']
    cfg.strategy.gradient_accumulation_steps = wrapper.pop('accumulative_counts', 1)
    for key in ('dtype', 'loss_scale'):  # of --amp: the strategy says bf16 or fp16
        wrapper.pop(key, None)


def _set_dataloader_defaults(cfg: Config) -> None:
    """What mmpretrain's own launcher adds to dataloaders, and its configs count on."""
    for name in DATALOADERS:
        if cfg.get(name) is not None:
            defaults = dict(pin_memory=torch.cuda.is_available(), collate_fn=dict(type='default_collate'))
            cfg[name] = {**defaults, **cfg[name]}
