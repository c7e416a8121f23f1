"""The installed stack as mmmamba mends it: mmcv ops against their definitions, imports, version messages."""

import math
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from packaging.version import Version

from mmmamba import compat

pytestmark = pytest.mark.skipif(
    'torchvision' not in str(sys.modules.get('mmcv._ext', __import__('mmcv._ext')._ext).__spec__.origin),
    reason='this environment has a compiled mmcv, which mmmamba leaves alone',
)
ROOT = Path(__file__).parents[1]
# Largest error, relative to the largest value: rounding of the result to its dtype.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def relative_error(found, expected):
    assert found.shape == expected.shape
    return np.abs(found.detach().double().numpy() - expected).max() / np.abs(expected).max()


# roi_align.


def sample_weights(y, x, height, width):
    """Bilinear weights of the four pixels around a point, as {(row, column): weight}; none outside the map."""
    if y < -1 or y > height or x < -1 or x > width:
        return {}
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    weights = {}
    for row, wy in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
        for column, wx in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
            weights[row, column] = weights.get((row, column), 0) + wy * wx
    return weights


def roi_align_matrix(rois, maps_shape, bins, scale, sampling_ratio, aligned):
    """The linear map from pixels to bins, (N, bins, bins, B, H, W), from the definition of Mask R-CNN's RoIAlign."""
    batch, height, width = maps_shape
    matrix = np.zeros((len(rois), bins, bins, batch, height, width))
    shift = 0.5 if aligned else 0.0
    for n, (image, x1, y1, x2, y2) in enumerate(rois.double().numpy()):
        x1, y1, x2, y2 = (value * scale - shift for value in (x1, y1, x2, y2))
        roi_w, roi_h = x2 - x1, y2 - y1
        if not aligned:
            roi_w, roi_h = max(roi_w, 1), max(roi_h, 1)
        count_y = sampling_ratio or math.ceil(roi_h / bins)
        count_x = sampling_ratio or math.ceil(roi_w / bins)
        for i in range(bins):
            for j in range(bins):
                for sy in range(count_y):
                    for sx in range(count_x):
                        y = y1 + roi_h / bins * (i + (sy + 0.5) / count_y)
                        x = x1 + roi_w / bins * (j + (sx + 0.5) / count_x)
                        for (row, column), weight in sample_weights(y, x, height, width).items():
                            matrix[n, i, j, int(image), row, column] += weight / max(count_y * count_x, 1)
    return matrix


def roi_inputs(dtype, seed=0):
    """Maps (2, 3, 11, 14) and RoIs in an image of four times that size: inside, beyond it, a point, all of it."""
    g = torch.Generator().manual_seed(seed)
    corners = torch.rand(5, 2, 2, generator=g, dtype=torch.float64) * torch.tensor([56.0, 44.0])
    boxes = torch.cat([corners.min(1).values, corners.max(1).values], dim=1)
    special = torch.tensor([[-9.3, -5.1, 20.2, 30.7], [40.1, 30.3, 90.7, 77.7], [9.3, 9.1, 9.3, 9.1], [0, 0, 56, 44]])
    boxes = torch.cat([boxes, special.double()])
    images = torch.arange(len(boxes)) % 2
    rois = torch.cat([images[:, None].double(), boxes], dim=1)
    return torch.randn(2, 3, 11, 14, generator=g, dtype=torch.float64).to(dtype), rois.to(dtype)


@pytest.mark.parametrize('autocast', [False, True], ids=['plain', 'bf16 autocast'])
@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('sampling_ratio', [0, 1, 2])
@pytest.mark.parametrize('aligned', [True, False], ids=['aligned', 'not aligned'])
def test_roi_align_and_its_gradient_match_the_definition(aligned, sampling_ratio, dtype, autocast):
    from mmcv.ops import RoIAlign

    maps, rois = roi_inputs(dtype)
    maps.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        found = RoIAlign(3, 0.25, sampling_ratio, aligned=aligned)(maps, rois)
    dy = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    (gradient,) = torch.autograd.grad(found, maps, dy)
    matrix = roi_align_matrix(rois, (2, 11, 14), 3, 0.25, sampling_ratio, aligned)
    expected = np.einsum('nijbhw,bchw->ncij', matrix, maps.detach().double().numpy())
    expected_gradient = np.einsum('nijbhw,ncij->bchw', matrix, dy.double().numpy())
    assert found.dtype == gradient.dtype == dtype
    assert relative_error(found, expected) < TOLERANCE[dtype]
    assert relative_error(gradient, expected_gradient) < TOLERANCE[dtype]


@pytest.mark.parametrize('scale', [1.0, 0.5, 1 / 16])
def test_roi_align_scales_the_rois(scale):
    from mmcv.ops import roi_align

    maps, rois = roi_inputs(torch.float64)
    found = roi_align(maps, rois, (2, 2), scale, 2, 'avg', True)
    expected = np.einsum('nijbhw,bchw->ncij', roi_align_matrix(rois, (2, 11, 14), 2, scale, 2, True), maps.numpy())
    assert relative_error(found, expected) < 1e-12


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_roi_align_of_half_precision_maps_reads_exact_rois(dtype):
    """A coordinate that fp16 would move by up to a quarter of a pixel, bf16 by up to two."""
    from mmcv.ops import roi_align

    maps = torch.randn(1, 2, 4, 1024, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    rois = torch.tensor([[0, 1001.3, 1, 1005.3, 3]])
    found, exact, rounded = (
        roi_align(values, boxes, (2, 2), 1.0, 2, 'avg', True)
        for values, boxes in ((maps, rois), (maps.float(), rois), (maps.float(), rois.to(dtype).float()))
    )
    assert torch.equal(found, exact.to(dtype))
    assert not torch.equal(found, rounded.to(dtype))
    gradients = [torch.autograd.grad(y.sum(), maps)[0] for y in (found, exact, rounded)]
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[0], gradients[2])


def test_roi_align_without_rois_is_empty():
    from mmcv.ops import roi_align

    maps = torch.randn(2, 3, 11, 14, requires_grad=True)
    found = roi_align(maps, torch.zeros(0, 5), (7, 7), 0.25, 0, 'avg', True)
    assert found.shape == (0, 3, 7, 7)
    found.sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_mmdets_extractor_pools_half_precision_maps_with_exact_rois(dtype):
    from mmdet.registry import MODELS

    config = dict(type='RoIAlign', output_size=3, sampling_ratio=2)
    extractor = MODELS.build(
        dict(type='mmdet.SingleRoIExtractor', roi_layer=config, out_channels=2, featmap_strides=[8, 16])
    )
    feats = [torch.randn(1, 2, size, size, generator=torch.Generator().manual_seed(0)).to(dtype) for size in (160, 80)]
    rois = torch.tensor([[0, 901.3, 777.7, 1001.9, 803.1], [0, 513.7, 515.9, 1200.3, 1100.9]])
    with torch.autocast('cpu', dtype):
        found = extractor(feats, rois)
    assert extractor.map_roi_levels(rois, 2).tolist() == [0, 1]
    for n, layer in enumerate(extractor.roi_layers):
        assert torch.equal(found[n : n + 1], layer(feats[n].float(), rois[n : n + 1]))
        assert not torch.equal(found[n : n + 1], layer(feats[n].float(), rois[n : n + 1].to(dtype).float()))


# nms.


def keep_by_hand(boxes, scores, threshold, offset):
    """Greedy suppression, box by box."""
    boxes, scores = boxes.double().tolist(), scores.double().tolist()
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(overlap(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def overlap(a, b, offset):
    inner_w = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    inner_h = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return inner_w * inner_h / (sum(areas) - inner_w * inner_h)


def boxes_and_scores(count, seed, dtype=torch.float64):
    """Overlapping boxes with integer corners, and scores that differ in any dtype."""
    g = torch.Generator().manual_seed(seed)
    corner, size = torch.randint(0, 30, (count, 2), generator=g), torch.randint(1, 20, (count, 2), generator=g)
    scores = torch.randperm(128, generator=g)[:count] / 128
    return torch.cat([corner, corner + size], dim=1).to(dtype), scores.to(dtype)


@pytest.mark.parametrize(
    ('dtype', 'autocast'),
    # PyTorch's own autocast on the CPU refuses fp16, in mmcv's torch.cat of boxes and scores.
    [*((dtype, False) for dtype in TOLERANCE), *((dtype, True) for dtype in TOLERANCE if dtype != torch.float16)],
    ids=str,
)
@pytest.mark.parametrize('offset', [0, 1])
@settings(max_examples=15)
@given(count=st.integers(1, 40), threshold=st.floats(0.1, 0.9), seed=st.integers(0, 1000))
def test_nms_keeps_what_the_definition_keeps(offset, dtype, autocast, count, threshold, seed):
    from mmcv.ops import nms

    boxes, scores = boxes_and_scores(count, seed, dtype)
    threshold = float(np.float32(threshold)) + 1e-4  # no IoU of small integers lies so close to it
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        dets, kept = nms(boxes, scores, threshold, offset=offset)
    assert kept.tolist() == keep_by_hand(boxes, scores, threshold, offset)
    assert dets.dtype == dtype
    assert torch.equal(dets, torch.cat([boxes[kept], scores[kept, None]], dim=1))


def test_nms_drops_overlaps_above_the_threshold_and_keeps_those_on_it():
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 3]])  # IoU with the first: 1/2, 3/4
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist() == [0, 1]


def test_nms_filters_by_score_and_number():
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 1, 1], [5, 5, 6, 6], [9, 9, 10, 10], [20, 20, 21, 21]])
    scores = torch.tensor([0.1, 0.9, 0.5, 0.7])
    assert nms(boxes, scores, 0.5, score_threshold=0.3, max_num=2)[1].tolist() == [1, 3]


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('split', [10000, 10], ids=['at once', 'class by class'])
def test_batched_nms_suppresses_within_a_class(dtype, split):
    from mmcv.ops import batched_nms

    boxes, scores = boxes_and_scores(40, 3, dtype)
    classes = torch.arange(40) % 3
    _, kept = batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.303, split_thr=split))
    expected = []
    for c in range(3):
        members = torch.where(classes == c)[0]
        expected += members[keep_by_hand(boxes[members], scores[members], 0.303, 0)].tolist()
    assert kept.tolist() == sorted(expected, key=lambda i: -scores[i].item())


def test_nms_of_no_boxes_is_empty():
    from mmcv.ops import nms

    dets, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.tolist() == []


# Ops that are not served.


def call_soft_nms():
    from mmcv.ops import soft_nms

    soft_nms(torch.rand(3, 4), torch.rand(3), 0.5)


def call_deformable_convolution():
    from mmcv.ops import ModulatedDeformConv2dPack

    ModulatedDeformConv2dPack(2, 2, 3)(torch.rand(1, 2, 5, 5))


def call_roi_pool():
    from mmcv.ops import RoIPool

    RoIPool(2)(torch.rand(1, 2, 5, 5), torch.tensor([[0.0, 0, 0, 3, 3]]))


@pytest.mark.parametrize(
    ('call', 'name'),
    [
        (call_soft_nms, 'softnms'),
        (call_deformable_convolution, 'modulated_deform_conv_forward'),
        (call_roi_pool, 'roi_pool_forward'),
    ],
)
def test_another_op_says_its_name_and_the_remedy(call, name):
    with pytest.raises(NotImplementedError) as error:
        call()
    assert f"mmcv op '{name}' is not served by mmmamba" in str(error.value)
    assert str(error.value).endswith(compat.COMPILED_MMCV)


def test_max_pooling_says_the_remedy():
    from mmcv.ops import roi_align

    with pytest.raises(
        NotImplementedError, match="pool_mode='max' is not served by mmmamba; use pool_mode='avg' or install"
    ):
        roi_align(torch.rand(1, 2, 5, 5), torch.tensor([[0.0, 0, 0, 3, 3]]), (2, 2), 1.0, 0, 'max', True)


def test_the_stand_in_has_no_attributes_that_python_looks_for():
    import mmcv._ext

    assert not hasattr(mmcv._ext, '__file__') or mmcv._ext.__file__ is None
    assert not hasattr(mmcv._ext, '__wrapped__')


def test_the_environment_report_works():
    from mmcv.ops import get_compiler_version, get_compiling_cuda_version

    assert get_compiler_version() == 'none: mmcv ops served from torchvision by mmmamba'
    assert get_compiling_cuda_version() == 'not available'


# Imports, in fresh interpreters.


def run_python(code, *path):
    """Run code with folders in front of sys.path; the finished process."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([*map(str, path), str(ROOT)])}
    return subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def output_of(code, *path):
    done = run_python(code, *path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_mmmamba_imports_neither_torch_nor_the_stack():
    code = (
        "import sys, mmmamba; print(sorted({'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet'} & set(sys.modules)))"
    )
    assert output_of(code) == '[]'


def test_without_mmmamba_mmcv_ops_do_not_import():
    """What the finder is for; if this passes without it, drop the finder."""
    done = run_python('import mmcv.ops')
    assert done.returncode == 1
    assert "No module named 'mmcv._ext'" in done.stderr


@pytest.mark.parametrize('before', ['torch, mmengine, mmcv', 'mmdet, mmseg'])
def test_mmmamba_may_be_imported_after_the_roots_of_the_stack(before):
    code = f'import {before}\nimport mmmamba, mmcv.ops\nprint(mmcv._ext.__spec__.origin)'
    assert output_of(code) == 'torchvision, through mmmamba.compat'


def test_a_compiled_module_is_left_alone(tmp_path):
    (tmp_path / '_ext.py').write_text('def nms(*args, **kwargs): return "compiled"\n')
    code = (
        f'import mmmamba, mmcv\nmmcv.__path__.insert(0, {str(tmp_path)!r})\nimport mmcv._ext\n'
        'print(mmcv._ext.nms(), mmcv._ext.__file__, hasattr(mmcv._ext, "softnms"))'
    )
    assert output_of(code) == f'compiled {tmp_path}/_ext.py False'


@pytest.fixture
def transformers_5(tmp_path):
    """A folder with a distribution of transformers 5, whose names mmpretrain does not find."""
    return fake_distribution(tmp_path, 'transformers', '5.0.0', package='transformers')


def fake_distribution(folder, name, version, package=None):
    info = folder / f'{name}-{version}.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    if package:
        (folder / package).mkdir()
        (folder / package / '__init__.py').write_text(f'__version__ = {version!r}\n')
    return folder


def test_mmdet_and_mmpretrain_import_beside_transformers_5(transformers_5):
    code = (
        'import mmmamba, transformers, mmdet, mmpretrain, mmpretrain.models, mmdet.models\n'
        'from mmpretrain.registry import MODELS\n'
        'print(transformers.__version__, MODELS.get("ResNet").__name__)\n'
        'try: MODELS.build(dict(type="Blip2Caption"))\n'
        'except ImportError as error: print(error)'
    )
    expected = '5.0.0 ResNet\nmmpretrain Blip2Caption needs transformers 4, found 5.0.0: pip install "transformers<5"'
    assert output_of(code, transformers_5) == expected


def test_without_mmmamba_mmpretrain_does_not_import_beside_transformers_5(transformers_5):
    """What the mend is for; if this passes without it, drop the mend."""
    served = (
        'import sys, mmmamba.compat as c; sys.meta_path[:] = [f for f in sys.meta_path if type(f) != c._MendingFinder]'
    )
    assert run_python(f'{served}\nimport mmpretrain.models', transformers_5).returncode == 1


@pytest.mark.parametrize(('version', 'left_out'), [('4.46.0', False), ('5.0.0', True), (None, False)])
def test_multimodal_models_are_left_out_beside_transformers_5_only(monkeypatch, version, left_out):
    monkeypatch.setattr(compat, '_installed', lambda name: version and Version(version))
    dependency = types.SimpleNamespace(WITH_MULTIMODAL=True, register_multimodal_placeholder=None)
    compat._leave_multimodal_out(dependency)
    assert dependency.WITH_MULTIMODAL is not left_out
    assert (dependency.register_multimodal_placeholder is not None) == left_out


# Versions.


def problems_with(monkeypatch, **versions):
    stack = {
        'torch': '2.9.1+cu128', 'torchvision': '0.24.1', 'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6',
        'onedl-mmdetection': '3.5.1', 'onedl-mmsegmentation': '1.4.2', 'onedl-mmpretrain': '1.3.6',
    }  # fmt: skip
    stack |= {name.replace('_', '-'): version for name, version in versions.items()}
    monkeypatch.setattr(compat, '_installed', lambda name: Version(stack[name]) if stack.get(name) else None)
    return compat.stack_problems()


def test_what_libraries_say_of_their_configs_is_read_once(monkeypatch):
    config = ROOT / 'configs/vmamba/mask-rcnn_vmamba-t_fpn_1x_coco.py'
    expected = Config.fromfile(config)
    monkeypatch.setattr('mmengine.fileio.io.file_handlers', {})  # reads no file any more
    assert Config.fromfile(config).model == expected.model


def test_a_tested_stack_has_no_problems(monkeypatch):
    assert problems_with(monkeypatch) == []
    assert problems_with(monkeypatch, torch='2.10.0a0+git1234') == []


def test_this_stack_has_no_problems():
    assert compat.stack_problems() == []


@pytest.mark.parametrize('version', ['2.3.1', '2.15.0', '3.0.0rc1'])
def test_an_untested_version_is_named_with_the_remedy(monkeypatch, version):
    tested = compat.TESTED['torch']
    expected = f'torch {version} is outside the tested {tested}; pip install "torch{tested}"'
    assert problems_with(monkeypatch, torch=version) == [expected]


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    expected = f'onedl-mmcv is not installed; pip install "onedl-mmcv{compat.TESTED["onedl-mmcv"]}"'
    assert problems_with(monkeypatch, onedl_mmcv=None) == [expected]


@pytest.mark.parametrize('old', sorted({old for olds in compat.PREDECESSORS.values() for old in olds}))
def test_a_predecessor_is_named_with_the_remedy(monkeypatch, old):
    (problem,) = problems_with(monkeypatch, **{old: '1.0'})
    (new,) = [name for name, olds in compat.PREDECESSORS.items() if old in olds]
    assert problem.startswith(
        f'{old} 1.0 is installed, whose files mix with those of {new}; pip uninstall {old} && pip'
    )


def test_a_problem_is_a_warning_at_import(tmp_path):
    done = run_python('import mmmamba; print("imported")', fake_distribution(tmp_path, 'mmcv', '2.1.0'))
    assert done.stdout.strip() == 'imported'
    assert 'UserWarning: mmmamba: mmcv 2.1.0 is installed, whose files mix with those of onedl-mmcv; ' in done.stderr
