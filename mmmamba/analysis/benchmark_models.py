"""The models a benchmark can name: our backbones, configs, and those of timm and mmpretrain, all as classifiers."""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmmamba.engine.config import load_config
from mmmamba.errors import UserError
from mmmamba.models import backbones, clip_backbones
from mmmamba.registry import MODELS

BACKBONES = {name: getattr(room, name) for room in (backbones, clip_backbones) for name in room.__all__}
KINDS = (
    "'VMamba:tiny' (a backbone of ours and its arch), the path of a classification config, 'timm:convnext_tiny', "
    "'mmpretrain:convnext-tiny_32xb128_in1k'; ':channels_last' behind any; 'VMamba:*' for all its published archs, "
    "'*' for those of every backbone of images"
)
CLASSES = 1000
Factory = Callable[[tuple[int, ...]], nn.Module]  # from height and width, of clips frames before them


class PooledClassifier(nn.Module):
    """A backbone, the mean of its last map, and a linear layer: images or clips, as that takes them, to (B, 1000)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.LazyLinear(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x)[-1].flatten(2).mean(2))


class _ChannelsLast(nn.Module):
    """A model that computes in that memory format, the turn of the images included."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.contiguous(memory_format=torch.channels_last))


class _TensorMode(nn.Module):
    """A classifier of mmpretrain as a function of images alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        out = self.model(x, mode='tensor')
        return out[-1] if isinstance(out, tuple | list) else out


def expand(specs: Sequence[str]) -> list[str]:
    """The specs with ``'VMamba:*'`` and ``'*'`` written out, each model once.

    Args:
        specs: as ``KINDS`` has them.
    """
    written_out = []
    for spec in specs:
        names = backbones.__all__ if spec == '*' else [spec.removesuffix(':*')]
        for name in names:
            wanted = spec.endswith('*') and name in BACKBONES
            written_out += [f'{name}:{arch}' for arch in _published_archs(name)] if wanted else [spec]
    return list(dict.fromkeys(written_out))


def _published_archs(backbone: str) -> list[str]:
    """Names in the table beside the backbone, without second names of the same architecture."""
    table = sys.modules[BACKBONES[backbone].__module__].ARCH
    names = {}
    for name, arch in table.items():
        names.setdefault(id(arch), name)
    return list(names.values())


def find_model(spec: str) -> Factory:
    """What builds a model: a classifier of 1000 classes with random weights, on the CPU, for images of a size.

    Args:
        spec: one of ``KINDS``.

    Raises:
        UserError: if there is no such model, or its library is not installed; before anything is built.
    """
    if spec.endswith(':channels_last'):
        build = find_model(spec.removesuffix(':channels_last'))
        if takes_clips(spec):
            raise UserError(f'model {spec!r}: channels_last is a memory format of images, this model takes clips')
        return lambda size: _ChannelsLast(build(size))
    source, _, name = spec.partition(':')
    if spec.endswith('.py'):
        build = _from_config(spec)
    elif source in LIBRARIES:
        build = LIBRARIES[source](name)
    elif source in BACKBONES and name:
        build = _from_backbone(source, name)
    else:
        raise UserError(f'model {spec!r} is not one of {KINDS}; our backbones: {", ".join(BACKBONES)}')

    def build_and_run(size: tuple[int, ...]) -> nn.Module:
        torch.manual_seed(0)
        model = build(size).eval()
        with torch.no_grad():
            model(torch.zeros(1, 3, *size))  # sets the width of a lazy head
        return model

    return build_and_run


def takes_clips(spec: str) -> bool:
    """Whether the model of a spec that ``find_model`` knows takes clips, (B, 3, T, H, W), in place of images."""
    spec = spec.removesuffix(':channels_last')
    kind = load_config(spec).model.backbone.type if spec.endswith('.py') else spec.partition(':')[0]
    return kind.removeprefix('mmmamba.') in clip_backbones.__all__


def is_ours(model: nn.Module) -> bool:
    """Whether the model's backbone is of this project, so that the backends of its scans can be compared."""
    return any(type(module).__module__.startswith('mmmamba.models') for module in model.modules())


def _from_backbone(kind: str, arch: str) -> Factory:
    config = dict(type=kind, arch=arch, out_indices=(-1,))
    try:
        with torch.device('meta'):
            MODELS.build(config)
    except ValueError as error:
        raise UserError(f'model {kind}:{arch}: {error}') from error
    return lambda size: PooledClassifier(MODELS.build(config))


def _from_config(path: str) -> Factory:
    cfg = load_config(path)
    if cfg.default_scope != 'mmpretrain':
        raise UserError(f'config {path!r} is of {cfg.default_scope}; a benchmark takes classifiers and backbones')

    def build(size: tuple[int, ...]) -> nn.Module:
        init_default_scope('mmpretrain')
        return _TensorMode(MODELS.build(cfg.model))

    return build


def _from_timm(name: str) -> Factory:
    timm = _imported('timm')
    if not timm.is_model(name):
        raise UserError(f'timm {timm.__version__} has no model {name!r}; timm.list_models() lists them')

    def build(size: tuple[int, int]) -> nn.Module:
        try:
            return timm.create_model(name, img_size=size)
        except TypeError:  # a model for any size
            return timm.create_model(name)

    return build


def _from_mmpretrain(name: str) -> Factory:
    mmpretrain = _imported('mmpretrain')
    if name not in mmpretrain.list_models():
        raise UserError(f'mmpretrain has no model {name!r}; mmpretrain.list_models() lists them')
    return lambda size: _TensorMode(mmpretrain.get_model(name, pretrained=False))


LIBRARIES = {'timm': _from_timm, 'mmpretrain': _from_mmpretrain}


def _imported(package: str):
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(f'{package} is not installed; pip install {package}, or leave its models out') from error


def label(spec: str) -> str:
    """A short name for tables: a config's file name, any other spec as it is."""
    return Path(spec).stem if spec.endswith('.py') else spec
