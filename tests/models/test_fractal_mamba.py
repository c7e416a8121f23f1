"""What is particular to FractalMamba; the contract of all backbones is tested elsewhere."""

import torch

from mmmamba.models.backbones import FractalMamba, VMamba
from mmmamba.scans import NAMED_SCANS

SMALL = dict(embed_dims=[16, 24], depths=[2, 1])


def test_blocks_take_the_curve_and_its_shifted_form_in_turn():
    model = FractalMamba(SMALL, out_indices=(1,))
    routes = [block.mixer.scan.names for stage in model.stages for block in stage.blocks]
    assert routes == [NAMED_SCANS[name] for name in ('hilbert_cross', 'hilbert_shifted_cross', 'hilbert_cross')]


def test_only_the_routes_differ_from_vmamba():
    torch.manual_seed(0)
    model, plain = (kind(SMALL, out_indices=(1,)).eval() for kind in (FractalMamba, VMamba))
    for parameter in model.parameters():  # at the start the state is too weak to show
        torch.nn.init.normal_(parameter, std=0.3)
    plain.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        assert not torch.allclose(model(x)[0], plain(x)[0], rtol=0, atol=1e-2)
