"""EfficientVMamba: what the common contract and the golden outputs do not show."""

import pytest
import torch

from mmmamba.models.backbones.efficient_vmamba import InvertedResidual, ScanBlock
from mmmamba.registry import MODELS

# Authors' classifiers.
COUNTS = {'tiny': 6_493_660, 'small': 11_273_688, 'base': 33_717_136}


@pytest.mark.parametrize('arch', COUNTS)
def test_parameter_count_is_the_authors(arch):
    with torch.device('meta'):
        model = MODELS.build(dict(type='EfficientVMamba', arch=arch, out_indices=(3,)))
    head = 1000 * (model.out_norms['3'].weight.numel() + 1)
    assert sum(p.numel() for p in model.parameters()) + head == COUNTS[arch]


def test_the_first_two_stages_scan_and_the_others_convolve():
    with torch.device('meta'):
        model = MODELS.build(dict(type='EfficientVMamba', arch='tiny'))
    kinds = [{type(block) for block in stage.blocks} for stage in model.stages]
    assert kinds == [{ScanBlock}, {ScanBlock}, {InvertedResidual}, {InvertedResidual}]


def test_a_scan_for_each_layer_counts_the_layers_that_scan():
    arch = dict(embed_dims=[8, 8, 8, 8], depths=[1, 2, 1, 1], d_state=1)
    scan = dict(type='per_layer', scans=['raster', 'cross', 'atrous'])
    model = MODELS.build(dict(type='EfficientVMamba', arch=arch, scan=scan))
    assert [len(m.D) for m in model.modules() if hasattr(m, 'D')] == [1, 4, 4]
