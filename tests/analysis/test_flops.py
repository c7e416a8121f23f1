"""Counting FLOPs: single layers by hand, whole models against the metafiles."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from mmmamba.analysis.flops import Figures, build_on_meta, count, count_inference, published_size, table
from mmmamba.engine.config import load_config
from mmmamba.layers import SS2D, LayerNorm
from mmmamba.models import MambaND3D, Vim, VMamba
from mmmamba.ops import selective_scan

ROOT = Path(__file__).parents[2]
ENTRIES = {
    entry['Name']: entry
    for page in sorted(ROOT.glob('configs/*/metafile.yml'))
    for entry in yaml.safe_load(page.read_text())['Models']
}
QUICK = (  # the three tasks, and every kind of scan, mixer and attention
    'vmamba-t_8xb128-300e_in1k',
    'vmamba-t-v0_8xb128-300e_in1k',
    'mask-rcnn_vmamba-t_fpn_1x_coco',
    'upernet_vmamba-t_8xb2-160k_ade20k-512x512',
    'vim-t_8xb128-300e_in1k',
    'vim-f-t_8xb128-300e_in1k',
    'mamba-r-t_8xb64-20e_in1k',
    'local-vim-t_8xb128-300e_in1k',
    'upernet_local-vim-t_8xb2-160k_ade20k-512x512',
    'local-vmamba-t_8xb128-300e_in1k',
    'groupmamba-t_8xb128-300e_in1k',
    'rsmamba-b_8xb128-300e_in1k',
    'plainmamba-l1_8xb256-300e_in1k',
    'mambavision-t_32xb128-310e_in1k',
    'simba-s-einfft_8xb128-310e_in1k',
    'heracles-s_8xb128-310e_in1k',
    'vim2-t_8xb128-300e_in1k',
)


def total(module, *shape):
    return count(module, lambda: module(torch.empty(*shape, device='meta')))['']


@pytest.mark.parametrize(('module', 'shape', 'figures'), [
    (nn.Linear(5, 7), (2, 3, 5), Figures(42, 2 * 3 * 5 * 7, 0, 0)),
    (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 7), Figures(114, 2 * 5 * 7 * 6 * 2 * 9, 0, 0)),
    (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 7), Figures(102, 5 * 7 * 4 * 6 * 4, 0, 0)),
    (LayerNorm(5), (2, 3, 5), Figures(10, 0, 0, 5 * 30)),
    (nn.BatchNorm2d(5).eval(), (2, 5, 3, 1), Figures(10, 0, 0, 2 * 30)),
    (nn.Upsample(scale_factor=2, mode='bilinear'), (1, 2, 3, 5), Figures(0, 0, 0, 4 * 120)),
    (nn.ReLU(), (2, 3), Figures(0, 0, 0, 0)),
], ids=str)  # fmt: skip
def test_layers_count_what_papers_count(module, shape, figures):
    assert total(module.to('meta'), *shape) == figures


@pytest.mark.parametrize('skip', [True, False])
def test_a_scan_counts_nine_for_every_state_and_one_for_the_skip(skip):
    u, A, B = (torch.empty(shape, device='meta') for shape in ((2, 11, 6), (6, 4), (2, 11, 4)))
    found = count(nn.Identity(), lambda: selective_scan(u, u, A, B, B, A[:, 0] if skip else None))['']
    assert found == Figures(0, 0, 9 * 2 * 11 * 6 * 4 + skip * 2 * 11 * 6, 0)


def test_a_map_scan_counts_every_route_and_the_expansion_of_the_step_size():
    with torch.device('meta'):
        mixer = SS2D(8, d_state=3, ssm_ratio=2.0, dt_rank=5, scan='cross')
    steps = 2 * 4 * 6 * 7 * 16  # B K L D
    projections = 2 * 6 * 7 * (8 * 16 + 16 * 9 + 16 * 4 * (5 + 2 * 3) + 16 * 8)  # in, depthwise, x_proj, out
    found = total(mixer, 2, 6, 7, 8)
    assert (found.products, found.scans) == (projections + steps * 5, steps * (9 * 3 + 1))


def test_modules_add_up_and_the_batch_multiplies():
    with torch.device('meta'):
        model = VMamba(dict(embed_dims=[8, 16], depths=[1, 2]), in_channels=1, out_indices=(0, 1))
    one, two = (count_inference(model, (37, 50), batch=batch) for batch in (1, 2))
    for name, module in model.named_modules():
        parts = [one[f'{name}.{child}'.strip('.')].flops for child, _ in module.named_children()]
        assert one[name].flops >= sum(parts)
        assert two[name].flops == 2 * one[name].flops
    parts = [one[part].flops for part in ('patch_embed', 'stages', 'out_norms')]
    assert one[''].flops == sum(parts)
    assert one['stages.1.blocks.1.mixer'].scans > 0


def test_counting_leaves_no_hook_behind():
    model = VMamba(dict(embed_dims=[8], depths=[1]), out_indices=(0,)).to('meta')
    count_inference(model, (8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in ENTRIES]
)
def test_count_is_the_published_one_within_two_percent(name):
    """The metafile has the count exactly; where the authors count otherwise, the README says how."""
    entry = ENTRIES[name]
    metadata, config = entry['Metadata'], ROOT / entry['Config']
    cfg = load_config(str(config))
    model = build_on_meta(cfg)
    found = count_inference(model, published_size(model, cfg.default_scope))['']
    assert found.parameters == metadata['Parameters']
    assert found.flops == pytest.approx(metadata['FLOPs'], rel=1e-3)  # versions of torch split operators
    if 'Published FLOPs' in metadata and f'`{name}`' not in (config.parent / 'README.md').read_text():
        assert found.flops == pytest.approx(metadata['Published FLOPs'], rel=0.02)


def test_a_layer_of_vim_counts_by_hand():
    """The first layer of Vim-Ti: both directions of convolution, projections and scan, and no norm."""
    with torch.device('meta'):
        model = Vim('tiny', out_indices=(-1,)).eval()
    tokens, width, inner, states, rank = 197, 192, 384, 16, 12
    projections = width * 2 * inner + 2 * inner * (4 + rank + 2 * states + rank) + inner * width
    found = count_inference(model, (224, 224))['layers.0']
    assert (found.products, found.scans) == (tokens * projections, 2 * tokens * inner * (9 * states + 1))


def test_a_layer_on_clips_counts_by_hand():
    """The last layer of Mamba-3D-S: 16 x 14 x 14 tokens, one route."""
    with torch.device('meta'):
        model = MambaND3D('small').eval()
    assert published_size(model, 'mmpretrain') == (32, 224, 224)
    tokens, width, inner, states, rank = 16 * 14 * 14, 384, 768, 16, 24
    projections = width * 2 * inner + inner * (4 + rank + 2 * states + rank) + inner * width
    found = count_inference(model, (32, 224, 224))['layers.23']
    assert (found.products, found.scans) == (tokens * projections, tokens * inner * (9 * states + 1))


def test_table_shows_modules_to_a_depth_and_names_the_unit():
    with torch.device('meta'):
        model = VMamba(dict(embed_dims=[8], depths=[1]), out_indices=(0,))
    lines = list(table(model, count_inference(model, (8, 8)), depth=1))
    assert [line.split()[0] for line in lines[1:-1]] == ['VMamba', 'patch_embed:', 'stages:', 'out_norms:']
    assert 'MACs' in lines[-1]


def test_tool_names_a_size_that_the_model_does_not_take(monkeypatch, capsys):
    config = str(ROOT / 'configs/mamba_nd/mamba-3d-s_8xb16-51e_ucf101.py')
    monkeypatch.setattr(sys, 'argv', ['get_flops.py', config, '--size', '64', '96'])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / 'tools/analysis_tools/get_flops.py'), run_name='__main__')
    assert '--size 64 96: this model takes frames x height x width' in f'{ended.value.code}{capsys.readouterr().err}'


def test_tool_prints_and_writes_the_figures(tmp_path, monkeypatch, capsys):
    config, out = str(ROOT / 'configs/vmamba/vmamba-t_8xb128-300e_in1k.py'), tmp_path / 'flops.json'
    monkeypatch.setattr(sys, 'argv', ['get_flops.py', config, '--size', '64', '96', '--out', str(out)])
    runpy.run_path(str(ROOT / 'tools/analysis_tools/get_flops.py'), run_name='__main__')
    printed = capsys.readouterr().out
    assert '1 x 64 x 96 (height x width)' in printed
    assert 'MACs' in printed
    modules = json.loads(out.read_text())['modules']
    assert modules['']['parameters'] == 30_249_064
    assert modules['backbone']['flops'] < modules['']['flops']
