"""Every backbone of the contract exports to ONNX, and onnxruntime gives its maps."""

import pytest
import torch
from test_backbone_contract import CASES

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
