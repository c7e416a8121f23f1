"""Parameters and FLOPs of a model, module by module, counted as papers count them.

What papers print as FLOPs is the count of fvcore: one for each multiply-add of a product or a convolution (MACs), five
for each value that a LayerNorm or GroupNorm writes (two for BatchNorm), four for a bilinear resize, nothing for other
elementwise work (RMSNorm among it) and for Fourier transforms. A selective scan of B sequences of L steps, D channels
and N states counts 9 B L D N, and B L D more for the skip connection, per route.

Models run on PyTorch's meta device, on shapes alone, so that any of them counts in a second on any machine.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mmmamba import ops  # noqa: F401 - registers the scans
from mmmamba.layers import ClipEmbed
from mmmamba.registry import MODELS

UNIT = (
    'FLOPs as papers print them: MACs, one for each multiply-add of a product or convolution (twice that in additions '
    'and multiplications), and 9BLDN + BLD for each route of a scan'
)
# Height and width of images that papers give figures for, by the config's library.
PUBLISHED_SIZES = {'mmpretrain': (224, 224), 'mmdet': (800, 1280), 'mmseg': (512, 2048)}
PROPOSALS, MASKS = 1000, 100  # of a two-stage detector; a constant number, as mmdet's own count has it

aten = torch.ops.aten


@dataclass(frozen=True)
class Figures:
    """What one module, with all inside it, costs.

    Args:
        parameters: of them.
        products: multiply-adds of matrix products and convolutions.
        scans: of selective scans.
        others: of norms and resizing.
    """

    parameters: int
    products: int
    scans: int
    others: int

    @property
    def flops(self) -> int:
        """The sum, as papers print it."""
        return self.products + self.scans + self.others


def build_on_meta(cfg: Config) -> nn.Module:
    """The model of a config, on the meta device, in evaluation mode."""
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model).eval()


def published_size(model: nn.Module, library: str) -> tuple[int, ...]:
    """What papers give figures for: height and width, of clips those that the model is built for, frames first.

    Args:
        model: of a config.
        library: the config's ``default_scope``.
    """
    backbone = _backbone(model)
    if isinstance(getattr(backbone, 'patch_embed', None), ClipEmbed):
        embed = backbone.patch_embed
        return tuple(side * patch for side, patch in zip(backbone.pos_embed.grid, embed.patch_size, strict=True))
    return PUBLISHED_SIZES[library]


def count_inference(model: nn.Module, size: tuple[int, ...], *, batch: int = 1) -> dict[str, Figures]:
    """Figures of inference at one size.

    Args:
        model: a backbone, classifier, segmentor or detector on the meta device. Of a two-stage detector, the heads
            see a thousand proposals and a hundred masks.
        size: height and width of the images, of clips frames before them.
        batch: number of images.

    Returns:
        Figures for every module by its dotted name; ``''`` is the model.
    """
    stem = next(module for module in _backbone(model).modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    images = torch.empty(batch, stem.in_channels, *size, device='meta')
    return count(model, lambda: _infer(model, images))


def count(model: nn.Module, run: Callable[[], object]) -> dict[str, Figures]:
    """Figures of every module of ``model`` while ``run`` runs.

    Args:
        model: whose modules are told apart.
        run: what is counted, without gradients.

    Returns:
        Figures for every module by its dotted name; ``''`` is the model.
    """
    counter = _Counter()
    with _names_of_running_modules(model, counter.stack), _autocast_off(), torch.no_grad(), counter:
        run()
    totals = {name: Counter() for name, _ in model.named_modules()}
    for (name, kind), number in counter.counts.items():
        while True:
            totals[name][kind] += number
            if not name:
                break
            name = name.rpartition('.')[0]
    return {
        name: Figures(sum(p.numel() for p in module.parameters()), *(totals[name][kind] for kind in KINDS))
        for name, module in model.named_modules()
    }


def table(model: nn.Module, figures: dict[str, Figures], depth: int = 2) -> Iterator[str]:
    """Figures as lines of text, module by module.

    Args:
        model: whose figures they are.
        figures: what ``count`` returns.
        depth: of nested modules that get a line.
    """
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    shown = [name for name, f in figures.items() if name.count('.') + bool(name) <= depth and (f.parameters or f.flops)]
    width = max(len(_label(name, kinds)) for name in shown)
    yield f'{"module":<{width}}  {"params (M)":>10}  {"GFLOPs":>9}  {"products":>9}  {"scans":>9}  {"others":>9}'
    for name in shown:
        f = figures[name]
        numbers = (f.flops, f.products, f.scans, f.others)
        cells = '  '.join(f'{number / 1e9:9.3f}' for number in numbers)
        yield f'{_label(name, kinds):<{width}}  {f.parameters / 1e6:10.3f}  {cells}'
    yield UNIT


def _label(name: str, kinds: dict[str, str]) -> str:
    indent = '  ' * (name.count('.') + bool(name))
    return f'{indent}{name.rpartition(".")[2]}: {kinds[name]}' if name else kinds[name]


# -- running a model on shapes --------------------------------------------------------------------------------------


def _backbone(model: nn.Module) -> nn.Module:
    return getattr(model, 'backbone', model)


def _infer(model: nn.Module, images: Tensor) -> None:
    if _backbone(model) is model:
        model(images)
    elif hasattr(model, 'roi_head'):
        _infer_two_stages(model, images)
    else:
        model(images, mode='tensor')


def _infer_two_stages(model: nn.Module, images: Tensor) -> None:
    """All but the choice of proposals and their alignment, which depend on values and count nothing."""
    maps = model.extract_feat(images)
    model.rpn_head(maps)
    for kind, regions in (('bbox', PROPOSALS), ('mask', MASKS)):
        heads = getattr(model.roi_head, f'{kind}_head', None)
        if heads is None:
            continue
        extractors = getattr(model.roi_head, f'{kind}_roi_extractor')
        stages = (heads, extractors) if isinstance(heads, nn.ModuleList) else ([heads], [extractors])
        for head, extractor in zip(*stages, strict=True):
            sides = extractor.roi_layers[0].output_size
            head(images.new_empty(regions, extractor.out_channels, *sides))


# -- counting -------------------------------------------------------------------------------------------------------


@contextmanager
def _names_of_running_modules(model: nn.Module, stack: list[str]) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: stack.append(name)))
        handles.append(module.register_forward_hook(lambda *_: stack.pop() and None, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _autocast_off() -> Iterator[None]:
    """Layers ask whether autocast is on, which PyTorch refuses to answer for its meta device."""
    with (
        mock.patch.object(torch, 'is_autocast_enabled', return_value=False),
        mock.patch.object(torch, 'autocast', return_value=nullcontext()),
    ):
        yield


KINDS = ('products', 'scans', 'others')


class _Counter(TorchDispatchMode):
    """Counts of every operator that runs, by the innermost running module and kind."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ['']
        self.counts: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry and packet not in FORMULAS:
            with self:
                parts = func.decompose(*args, **kwargs)  # into what the formulas know
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        for kind, formula in FORMULAS.get(packet, ()):
            self.counts[self.stack[-1], kind] += formula(args, out)
        if packet in flop_registry:
            self.counts[self.stack[-1], 'products'] += flop_registry[packet](*args, **kwargs, out_val=out) // 2
        return out


def _steps_2d(args: tuple) -> int:
    """B L D of all routes."""
    tokens, routes, A = args[0], args[2], args[5]  # A is (K, E, N)
    return tokens.shape[0] * routes.numel() * A.shape[1]


def _scan_2d(args: tuple, out: Tensor) -> int:
    return _steps_2d(args) * (9 * args[5].shape[2] + 1)


def _step_sizes_2d(args: tuple, out: Tensor) -> int:
    return _steps_2d(args) * args[3].shape[2]  # dt_proj_weight is (K, E, R)


def _scan_1d(args: tuple, out: Tensor) -> int:
    u, _, A, _, _, D = args[:6]
    return u.numel() * (9 * A.shape[1] + (D is not None))


def _per_value(affine: int, plain: int, weight: int) -> Callable[[tuple, object], int]:
    """``affine`` for each input value where the argument at place ``weight`` is a tensor, else ``plain``."""
    return lambda args, out: args[0].numel() * (plain if args[weight] is None else affine)


def _per_output(number: int) -> Callable[[tuple, Tensor], int]:
    return lambda args, out: out.numel() * number


# Kinds and formulas of an operator's arguments and result.
FORMULAS = {
    torch.ops.mmmamba.selective_scan_2d: [('scans', _scan_2d), ('products', _step_sizes_2d)],
    torch.ops.mmmamba.selective_scan: [('scans', _scan_1d)],
    aten.native_layer_norm: [('others', _per_value(5, 4, weight=2))],
    aten.native_group_norm: [('others', _per_value(5, 4, weight=1))],
    aten.native_batch_norm: [('others', _per_value(2, 1, weight=1))],
    aten._native_batch_norm_legit_no_training: [('others', _per_value(2, 1, weight=1))],
    aten.upsample_bilinear2d: [('others', _per_output(4))],
    aten.upsample_nearest2d: [('others', _per_output(1))],
}
