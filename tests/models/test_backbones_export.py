"""Every backbone of the contract exports to ONNX, and onnxruntime gives its maps."""

import pytest
import torch
from test_backbone_contract import CASES
from test_vit_adapter import build as build_adapter
from torch import nn

from mmmamba import export
from mmmamba.registry import MODELS

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


@pytest.mark.slow
@pytest.mark.skipif(not export._has_exporter(), reason='torch < 2.9 does not export scans')
@pytest.mark.parametrize('name', CASES)
def test_backbone_runs_in_onnxruntime(name, tmp_path):
    torch.manual_seed(0)
    case = CASES[name]
    backbone = MODELS.build(dict(type=name, arch=case.arch, out_indices=case.out_indices, **case.options)).eval()
    outputs = export.export_onnx(backbone, (64, 96), tmp_path / 'b.onnx', part='backbone')
    assert max(output.error for output in outputs) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not export._has_exporter(), reason='torch < 2.9 does not export scans')
def test_adapter_runs_in_onnxruntime(tmp_path):
    detector = nn.Module()
    detector.backbone, detector.data_preprocessor = build_adapter().eval(), None
    outputs = export.export_onnx(detector, (64, 96), tmp_path / 'b.onnx', part='backbone')
    assert [output.shape[2:] for output in outputs] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert max(output.error for output in outputs) < 1e-5
