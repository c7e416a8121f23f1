"""ViT-Adapter on CUDA: fp32 beside the CPU, and mixed precision beside fp32."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / 'models'))

from test_vit_adapter import PLAIN, build, image

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@pytest.mark.parametrize('name', PLAIN)
@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
def test_maps_are_those_of_the_cpu_in_every_precision(name, dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    model = build(name).eval()
    with torch.no_grad():
        expected = model(image())
    model.cuda()
    with torch.autocast('cuda', dtype, enabled=dtype is not torch.float32):
        outs = model(image().cuda())
    sum(out.float().square().mean() for out in outs).backward()
    for out, exact in zip(outs, expected, strict=True):
        assert (out.cpu() - exact).abs().max() <= TOLERANCE[dtype] * exact.abs().max()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
