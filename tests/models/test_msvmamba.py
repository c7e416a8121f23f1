"""MSVMamba: what the common contract and the golden outputs do not show, foremost the v3 models, which have none."""

import pytest
import torch

from mmmamba.checkpoints import export, load_weights
from mmmamba.registry import MODELS

# Authors' classifiers of the first release; of v3 what the paper prints, in millions.
COUNTS = {'nano': 6_864_136, 'micro': 11_879_272, 'tiny': 33_046_312}
MILLIONS = {'v3_tiny': 32, 'v3_small': 50, 'v3_base': 91}
SMALL = dict(embed_dims=[16, 24, 32, 40], depths=[1, 1, 1, 1])
SMALL_V3 = dict(
    **SMALL, version='v3', ssm_ratio=1.0, conv_bias=False, gate=False, mlp_ratio=4.0, patch_embed='v2', downsample='v3'
)


def count(arch):
    with torch.device('meta'):
        model = MODELS.build(dict(type='MSVMamba', arch=arch, out_indices=(3,)))
    return sum(p.numel() for p in model.parameters()) + 1000 * (model.out_norms['3'].weight.numel() + 1)


@pytest.mark.parametrize('arch', COUNTS)
def test_parameter_count_is_the_authors(arch):
    assert count(arch) == COUNTS[arch]


@pytest.mark.parametrize('arch', MILLIONS)
def test_parameter_count_of_v3_rounds_to_the_published_one(arch):
    assert round(count(arch) / 1e6) == MILLIONS[arch]


def test_v3_keeps_the_parameters_of_the_whole_map_first_in_the_authors_layout():
    model = MODELS.build(dict(type='MSVMamba', arch=SMALL_V3))
    published = export(model)
    ours = model.state_dict()['stages.0.blocks.0.mixer.scan.dt_proj_bias']  # ours: the small map's first
    assert torch.equal(published['layers.0.blocks.0.op.dt_projs_bias'], ours.flip(0))


@pytest.mark.parametrize('size', [(33, 47), (64, 40)], ids=str)
def test_v3_gives_maps_at_any_size_and_takes_its_weights_back(size):
    model, twin = (MODELS.build(dict(type='MSVMamba', arch=SMALL_V3)).eval() for _ in range(2))
    load_weights(twin, export(model))
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        for a, b in zip(model(x), twin(x), strict=True):
            assert a.isfinite().all()
            assert torch.equal(a, b)


def test_another_version_is_named():
    with pytest.raises(ValueError, match=r"arch: version 'v2' is not one of \['v1', 'v3'\]"):
        MODELS.build(dict(type='MSVMamba', arch=dict(SMALL, version='v2')))
