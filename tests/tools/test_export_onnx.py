"""tools/model_converters/export_onnx.py: files that onnxruntime runs, with what PyTorch gives."""

import json

import numpy as np
import pytest
import torch

from mmmamba import export
from mmmamba.engine import UserError
from mmmamba.export import export_onnx, scan_step_by_step
from mmmamba.models import Vim, VMamba
from mmmamba.ops import selective_scan
from mmmamba.ops.selective_scan import torch_path

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytestmark = pytest.mark.skipif(not export._has_exporter(), reason='torch < 2.9 does not export scans')
TOOL = 'model_converters/export_onnx.py'
DEMO = {
    'cls': 'cls_vmamba-nano_handwriting',
    'det': 'mask-rcnn_vmamba-nano_handwriting',
    'seg': 'upernet_vmamba-nano_handwriting',
}


@pytest.mark.parametrize('build', [
    lambda: VMamba(dict(embed_dims=[8, 16], depths=[1, 1], d_state=2), out_indices=(0, 1)),
    lambda: Vim(dict(embed_dims=16, num_layers=1, patch_size=8, img_size=(32, 48), d_state=4), out_indices=(0,)),
], ids=['VMamba', 'Vim'])  # fmt: skip
def test_a_backbone_runs_in_onnxruntime(build, tmp_path):
    torch.manual_seed(0)
    outputs = export_onnx(build().eval(), (24, 40), tmp_path / 'b.onnx', part='backbone', batch=2)
    assert [output.name for output in outputs] == [f'map_{i}' for i in range(len(outputs))]
    assert outputs[0].shape[0] == 2
    assert max(output.error for output in outputs) < 1e-5


def test_the_step_by_step_scan_is_the_chunked_one():
    torch.manual_seed(0)
    u, delta = torch.randn(2, 2, 7, 3, 4).unbind()
    B, C = torch.randn(2, 2, 7, 3, 5).unbind()
    A, D, bias = -torch.rand(3, 4, 5), torch.randn(3, 4), torch.randn(3, 4)
    arguments = (u, delta, A, B, C, D, bias, True)
    torch.testing.assert_close(scan_step_by_step(*arguments), torch_path.scan_forward(*arguments))


@pytest.mark.parametrize('reverse', [False, True])
def test_the_unregistered_op_is_the_registered_one(reverse):
    torch.manual_seed(0)
    u, delta, B, C = torch.randn(2, 7, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 2, 3), torch.randn(2, 7, 2, 3)
    A, D, bias = -torch.rand(8, 3), torch.randn(8), torch.randn(8)
    found = export._scan_sequences(u, delta, A, B, C, D, bias, True, reverse, 'torch')
    expected = selective_scan(u, delta, A, B, C, D, delta_bias=bias, delta_softplus=True, reverse=reverse)
    torch.testing.assert_close(found, expected)


def test_a_detector_says_what_can_be_exported(tmp_path, run_tool):
    with pytest.raises(SystemExit, match=r'error: a MaskRCNN does not export as a whole.*--part backbone'):
        run_tool(TOOL, DEMO['det'], '--out', tmp_path / 'det.onnx')


def test_a_file_that_is_off_is_refused(monkeypatch, tmp_path):
    def run(self, names, feeds):
        return [np.ones((1, 8, 2, 2), np.float32)]

    backbone = VMamba(dict(embed_dims=[8], depths=[1]), out_indices=(0,)).eval()
    monkeypatch.setattr(onnxruntime.InferenceSession, 'run', run)
    with pytest.raises(UserError, match='map_0 is .* off in onnxruntime; do not use the file'):
        export_onnx(backbone, (8, 8), tmp_path / 'b.onnx', part='backbone')


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(export, 'find_spec', lambda name: None if name == 'onnx' else name)
    with pytest.raises(UserError, match='the export needs onnx; pip install onnx onnxruntime onnxscript'):
        export_onnx(torch.nn.Identity(), (8, 8), tmp_path / 'b.onnx', part='backbone')


@pytest.mark.slow
@pytest.mark.parametrize(('task', 'shape'), [('cls', (1, 10)), ('seg', (1, 11, 16, 16))])
def test_whole_models_export_from_a_config(task, shape, tmp_path, run_tool, demo_weights, capsys):
    size = (32, 32) if task == 'cls' else (64, 64)
    run_tool(TOOL, DEMO[task], demo_weights(task), '--size', *size, '--out', tmp_path / 'm.onnx')
    assert f'logits {shape}' in capsys.readouterr().out
    session = onnxruntime.InferenceSession(tmp_path / 'm.onnx')
    metadata = session.get_modelmeta().custom_metadata_map
    assert len(json.loads(metadata['mean'])) == 3
    assert metadata['channels'] == 'RGB'
    (logits,) = session.run(None, {'images': np.zeros((1, 3, *size), np.float32)})
    assert logits.shape == shape
