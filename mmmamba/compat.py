"""The one place that touches the installed stack: mmcv ops, mends of imported modules, version checks.

Importing this file registers two import finders, sets how OpenMP threads wait and checks the installed versions; it
imports neither torch nor mmcv.

* ``mmcv._ext`` is served from torchvision where the compiled module is missing (`_ExtensionFinder`).
* Modules that fail, lose precision or run what they read are mended right after their own import (`MENDS`).
* `stack_problems` compares what is installed with `TESTED`, the ranges of requirements.txt.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

if TYPE_CHECKING:  # importing this file imports no torch
    import torch

TESTED = {
    'torch': '>=2.4,<2.15',
    'torchvision': '>=0.19,<0.30',
    'onedl-mmengine': '>=0.10.12,<0.11',
    'onedl-mmcv': '>=2.3.6,<2.4',
    'onedl-mmdetection': '>=3.5.1,<3.6',
    'onedl-mmsegmentation': '>=1.4.2,<1.5',
    'onedl-mmpretrain': '>=1.3.6,<1.4',
}
PREDECESSORS = {
    'onedl-mmengine': ('mmengine', 'mmengine-lite'),
    'onedl-mmcv': ('mmcv', 'mmcv-full', 'mmcv-lite'),
    'onedl-mmdetection': ('mmdet',),
    'onedl-mmsegmentation': ('mmsegmentation',),
    'onedl-mmpretrain': ('mmpretrain', 'mmcls'),
}
# Its setup.py builds the ops wherever torch is installed, but asks for C++17, which torch's headers no longer compile
# with (2.14); with C++20 they do.
COMPILED_MMCV = (
    f'pip download --no-deps --no-build-isolation --no-binary :all: "onedl-mmcv{TESTED["onedl-mmcv"]}" && '
    'tar xzf onedl_mmcv-*.tar.gz && sed -i s/c++17/c++20/ onedl_mmcv-*/setup.py && '
    'pip install --no-build-isolation --no-deps --force-reinstall ./onedl_mmcv-*/'
)


# -- mmcv._ext from torchvision ------------------------------------------------------------------------------------


class _ExtensionFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last finder on the path: it is asked for ``mmcv._ext`` only if no compiled module was found."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == 'mmcv._ext':
            return importlib.machinery.ModuleSpec(fullname, self, origin='torchvision, through mmmamba.compat')
        return None

    def exec_module(self, module):
        for function in (nms, roi_align_forward, roi_align_backward, get_compiler_version, get_compiling_cuda_version):
            setattr(module, function.__name__, function)
        module.__getattr__ = _missing_op


def _missing_op(name: str) -> Callable:
    """Stand for an op that torchvision does not have: mmcv.ops imports, the op fails when it is called."""
    if name.startswith('__'):
        raise AttributeError(f"module 'mmcv._ext' has no attribute {name!r}")

    def missing(*args, **kwargs):
        raise NotImplementedError(
            f'mmcv op {name!r} is not served by mmmamba, which has nms and roi_align with average pooling; '
            f'install a compiled mmcv, which needs a C++ compiler and, for a GPU, nvcc: {COMPILED_MMCV}'
        )

    missing.__name__ = name
    return missing


def get_compiler_version() -> str:
    """Answer mmcv's report of the environment, which asks for a compiler."""
    return 'none: mmcv ops served from torchvision by mmmamba'


def get_compiling_cuda_version() -> str:
    """Answer mmcv's report of the environment, which asks for the CUDA version of its ops."""
    return 'not available'


def _kernel_dtype(*dtypes: 'torch.dtype') -> 'torch.dtype':
    """Return the dtype to compute in: torchvision has fp32 and fp64 kernels on every device, half ones only on some."""
    import torch

    return torch.float64 if torch.float64 in dtypes else torch.float32


def nms(boxes: 'torch.Tensor', scores: 'torch.Tensor', iou_threshold: float, offset: int = 0) -> 'torch.Tensor':
    """Keep boxes in order of score, dropping those that overlap a kept one.

    Args:
        boxes: (N, 4), any floating dtype; x1, y1, x2, y2.
        scores: (N,), any floating dtype.
        iou_threshold: a box goes if its IoU with a kept one is larger.
        offset: 0 or 1, added to widths and heights (1: coordinates count pixels, both ends included).

    Returns:
        (M,) int64 indices of the kept boxes, best score first.
    """
    import torch
    import torchvision  # noqa: F401 - registers torch.ops.torchvision

    dtype = _kernel_dtype(boxes.dtype, scores.dtype)
    boxes = boxes.to(dtype)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torch.ops.torchvision.nms(boxes, scores.to(dtype), iou_threshold)


def _require_average_pooling(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            "mmcv op roi_align with pool_mode='max' is not served by mmmamba; use "
            f"pool_mode='avg' or install a compiled mmcv: {COMPILED_MMCV}"
        )


def roi_align_forward(
    input: 'torch.Tensor',
    rois: 'torch.Tensor',
    output: 'torch.Tensor',
    argmax_y: 'torch.Tensor',
    argmax_x: 'torch.Tensor',
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the average-pooled RoIs to ``output``; fp16 and bf16 are computed in fp32.

    Args:
        input: (B, C, H, W), any floating dtype.
        rois: (N, 5), any floating dtype; image index, x1, y1, x2, y2 in image coordinates.
        output: (N, C, aligned_height, aligned_width), written.
        argmax_y: unused, of max pooling.
        argmax_x: unused, of max pooling.
        aligned_height: rows of the output.
        aligned_width: columns of the output.
        spatial_scale: map pixels per image pixel.
        sampling_ratio: samples per bin and axis; 0 takes as many as the bin has map pixels, rounded up.
        pool_mode: 1 for average, the only one served.
        aligned: whether pixel centres lie at half-integers.

    Raises:
        NotImplementedError: for max pooling.
    """
    import torch
    import torchvision  # noqa: F401 - registers torch.ops.torchvision

    _require_average_pooling(pool_mode)
    dtype = _kernel_dtype(input.dtype)
    output.copy_(
        torch.ops.torchvision.roi_align(
            input.to(dtype), rois.to(dtype), spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
        )
    )


def roi_align_backward(
    grad_output: 'torch.Tensor',
    rois: 'torch.Tensor',
    argmax_y: 'torch.Tensor',
    argmax_x: 'torch.Tensor',
    grad_input: 'torch.Tensor',
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of `roi_align_forward` with respect to its input to ``grad_input`` (B, C, H, W).

    The other arguments are those of `roi_align_forward`; ``grad_output`` has the shape of its output.

    Raises:
        NotImplementedError: for max pooling.
    """
    import torch
    import torchvision  # noqa: F401 - registers torch.ops.torchvision

    _require_average_pooling(pool_mode)
    dtype = _kernel_dtype(grad_output.dtype)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output.to(dtype),
            rois.to(dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


# -- mends, applied right after the module they name was imported ----------------------------------------------------


def _leave_multimodal_out(dependency: Any) -> None:
    """mmpretrain's multimodal models are written for transformers 4 and fail at import beside 5; the rest is fine."""
    version = _installed('transformers')
    if not dependency.WITH_MULTIMODAL or version is None or version.major < 5:
        return

    def register_placeholders(names, registry):
        for name in names:
            registry.register_module(name=name, module=functools.partial(_needs_transformers_4, name, version))

    dependency.WITH_MULTIMODAL = False
    dependency.register_multimodal_placeholder = register_placeholders


def _needs_transformers_4(name, version, *args, **kwargs):
    raise ImportError(f'mmpretrain {name} needs transformers 4, found {version}: pip install "transformers<5"')


def _keep_rois_exact(extractor: Any) -> None:
    """mmdet rounds RoIs to the dtype of the maps: in bf16 a coordinate above 512 moves by up to 2 px. Pool in fp32."""
    forward = extractor.SingleRoIExtractor.forward

    @functools.wraps(forward)
    def forward_in_fp32(self, feats, rois, roi_scale_factor=None):
        feats = tuple(feat.float() if feat.itemsize < 4 else feat for feat in feats)
        return forward(self, feats, rois, roi_scale_factor)

    extractor.SingleRoIExtractor.forward = forward_in_fp32


def _find_configs_of_libraries(config_utils: Any) -> None:
    """Bases of other libraries, such as ``mmseg::...``.

    mmengine looks for those of mmseg in a distribution of the predecessor's name; by module it finds them. And for each
    base of each config it reads all metafiles of the library, 0.1 to 0.2 s; once will do.
    """
    config_utils.MODULE2PACKAGE['mmseg'] = 'mmseg'
    config_utils.load = functools.cache(config_utils.load)


def _run_no_pickled_code(checkpoint: Any) -> None:
    """mmengine reads a file that is not plain weights once more, with the code in it; ours is refused instead."""

    def load(file, map_location=None, weights_only=None):
        from mmmamba.checkpoints.files import read_torch

        return read_torch(file, map_location)

    checkpoint._safe_torch_load = load


def _know_published_layouts(weight_init: Any) -> None:
    """mmengine's ``Pretrained`` only warns where no name fits, as in any authors' file; our models ask ours instead."""
    pretrained = weight_init.PretrainedInit
    init, load = pretrained.__init__, pretrained.__call__

    @functools.wraps(init)
    def init_with_average(self, *args, ema=False, **kwargs):
        init(self, *args, **kwargs)
        self.ema = ema

    @functools.wraps(load)
    def load_or_pass_on(self, module):
        from mmmamba.checkpoints.pretrained import Pretrained, is_around_ours

        if is_around_ours(module):
            Pretrained(self.checkpoint, self.prefix, self.ema)(module)
        elif self.ema:
            raise ValueError(f"init_cfg: ema=True is for mmmamba's backbones and models around one, not {type(module)}")
        else:
            load(self, module)

    pretrained.__init__, pretrained.__call__ = init_with_average, load_or_pass_on


MENDS = {
    'mmengine.model.weight_init': _know_published_layouts,
    'mmengine.runner.checkpoint': _run_no_pickled_code,
    'mmengine.config.utils': _find_configs_of_libraries,
    'mmpretrain.utils.dependency': _leave_multimodal_out,
    'mmdet.models.roi_heads.roi_extractors.single_level_roi_extractor': _keep_rois_exact,
}


class _MendingFinder(importlib.abc.MetaPathFinder):
    """First finder on the path: the ordinary one finds a module of `MENDS`, which is mended after its import."""

    def find_spec(self, fullname, path=None, target=None):
        mend = MENDS.get(fullname)
        if mend is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None:
            return None
        loader: Any = spec.loader
        exec_module = loader.exec_module

        def exec_and_mend(module):
            exec_module(module)
            mend(module)

        loader.exec_module = exec_and_mend
        return spec


# -- versions --------------------------------------------------------------------------------------------------------


def _installed(distribution: str) -> Version | None:
    try:
        return Version(importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return None


def stack_problems() -> list[str]:
    """Compare the installed stack with the tested one.

    Returns:
        One line per problem, each with its remedy; empty for a tested stack.
    """
    problems = []
    for name, tested in TESTED.items():
        version = _installed(name)
        for old in PREDECESSORS.get(name, ()):
            old_version = _installed(old)
            if old_version is not None:
                problems.append(
                    f'{old} {old_version} is installed, whose files mix with those of {name}; '
                    f'pip uninstall {old} && pip install --force-reinstall --no-deps "{name}{tested}"'
                )
        if version is None:
            problems.append(f'{name} is not installed; pip install "{name}{tested}"')
        elif not SpecifierSet(tested, prereleases=True).contains(version.public):
            problems.append(f'{name} {version} is outside the tested {tested}; pip install "{name}{tested}"')
    return problems


def _install() -> None:
    # PyTorch and OpenCV or scikit-learn bring an OpenMP runtime each, whose idle threads spin: beside another busy
    # process a training step on a CPU then takes ten times as long. Read when torch is imported, so set before that.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    for name, mend in MENDS.items():
        if name in sys.modules:
            mend(sys.modules[name])
    sys.meta_path.insert(0, _MendingFinder())
    sys.meta_path.append(_ExtensionFinder())
    # A warning, not an error: an untested combination may well work, and a refusal would help nobody.
    for problem in stack_problems():
        warnings.warn(f'mmmamba: {problem}', stacklevel=2)


_install()
