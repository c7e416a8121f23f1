"""Models by name: what a config builds, with weights if there are any."""

import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn

from mmmamba.checkpoints import fit_weights, load_file
from mmmamba.engine.config import load_config
from mmmamba.engine.config_files import config_names
from mmmamba.errors import UserError


def list_models(pattern: str | None = None) -> list[str]:
    """Names that ``get_model`` and the inferencers know: those of our configs.

    Args:
        pattern: with the wildcards ``*``, ``?`` and ``[...]``; any rest may follow. None is all.

    Returns:
        Sorted names, such as ``'mask-rcnn_vmamba-t_fpn_1x_coco'``.
    """
    return config_names(pattern)


def get_model(
    name: str | Path | Config,
    pretrained: str | Path | bool = False,
    *,
    device: str | torch.device | None = None,
    **options: object,
) -> BaseModel:
    """Build the classifier, detector or segmentor of a config, in evaluation mode.

    Args:
        name: of a config of ours (``list_models`` names them), path of any config, or a config.
        pretrained: path or address of a checkpoint, the authors' or ours, which has to fit; False gives fresh weights,
            and ``model.init_weights()`` then those that training starts from.
        device: where the model goes; None leaves it on the CPU.
        **options: entries that override those of the config's ``model``, as ``backbone=dict(with_cp=True)``.

    Returns:
        The model. ``model.cfg`` is its config, ``model.dataset_meta`` holds the names of its ``classes`` where known.

    Raises:
        UserError: if there is no such config, or ``pretrained`` is True.
        CheckpointError: if the checkpoint cannot be read or does not fit.
    """
    if pretrained is True:
        raise UserError(
            'pretrained=True: mmmamba hosts no weights; give the path or address of a checkpoint, pretrained=PATH; the '
            "authors' files load as they are, the README of each family in configs/ says where they are"
        )
    cfg = resolve_config(name)
    if options:
        cfg.merge_from_dict({'model': options})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
    meta = dataset_meta(cfg)
    if pretrained is not False:
        meta |= load_checkpoint(model, pretrained)['meta'].get('dataset_meta', {})
    model.cfg = model._config = cfg
    model.dataset_meta = model._dataset_meta = meta  # with an underscore: mmpretrain's names
    model._metainfo = None
    return model.to(device or 'cpu').eval()


def resolve_config(name: str | Path | Config) -> Config:
    """A config of its own for a name, a path or a config.

    Raises:
        UserError: if there is none, or it is not one of mmdet, mmseg or mmpretrain.
    """
    return copy.deepcopy(name) if isinstance(name, Config) else load_config(str(name))


def load_checkpoint(model: nn.Module, path: str | Path) -> dict:
    """Load a checkpoint into a model, complete or an error, running no code that a file may hold.

    Args:
        model: a whole model.
        path: or address.

    Returns:
        What the file holds, its weights under our names in ``state_dict``; ``meta`` is always there.

    Raises:
        CheckpointError: if the file cannot be read or does not fit.
    """
    checkpoint = dict(load_file(path))
    checkpoint['state_dict'], _ = fit_weights(model, checkpoint, f'checkpoint {str(path)!r}')
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    meta = checkpoint.get('meta')
    checkpoint['meta'] = meta if isinstance(meta, dict) else {}
    return checkpoint


def dataset_meta(cfg: Config) -> dict:
    """Classes and palette of a config's test data, as far as the config tells; no file is read."""
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'type' not in dataset:
        return {}
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        kind = registry.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    named = dataset.get('metainfo') or {}
    own = {key: value for key, value in (getattr(kind, 'METAINFO', None) or {}).items() if key not in named}
    if 'classes' in named:  # they are not the data set's own, and neither are the colours
        own.pop('palette', None)
    return {**own, **copy.deepcopy(dict(named))}
