"""Every backbone on CUDA: what the authors' code gives, and mixed precision beside fp32."""

import sys
from pathlib import Path

import pytest
import torch

from mmmamba.checkpoints.conformance import judge, read_cases

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / 'models'))

from test_backbone_contract import CASES, build, image  # noqa: E402

GOLDEN = {c.name: c for c in read_cases(TESTS / 'data' / 'conformance') if '/custom_small' in c.name}
# Largest error over the largest value of a map, after a few blocks.
TOLERANCE = {torch.bfloat16: 5e-2, torch.float16: 1e-2}


@pytest.mark.parametrize('name', sorted(GOLDEN))
def test_model_conforms_to_the_authors_code(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    for verdict in judge(GOLDEN[name], device='cuda'):
        assert verdict.passed, str(verdict)


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
def test_mixed_precision_is_near_fp32(name, dtype):
    model = build(name).cuda().eval()
    x = image().cuda()
    with torch.no_grad():
        expected = model(x)
    with torch.autocast('cuda', dtype):
        outs = model(x)
    for out, exact in zip(outs, expected, strict=True):
        assert (out - exact).abs().max() <= TOLERANCE[dtype] * exact.abs().max()
    for is_training in (False, True):
        assert not _parameters_without_gradient(model.train(is_training), x, dtype)


def _parameters_without_gradient(model, x, dtype):
    model.zero_grad(set_to_none=True)
    with torch.autocast('cuda', dtype):
        outs = model(x)
    sum(out.float().square().mean() for out in outs).backward()
    return [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
