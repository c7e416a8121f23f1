"""Counting FLOPs: single layers by hand, whole models against what their authors print."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from mmmamba.analysis.flops import PUBLISHED_SIZES, Figures, build_on_meta, count, count_inference, table
from mmmamba.engine.config import load_config
from mmmamba.layers import SS2D, LayerNorm
from mmmamba.models import VMamba, backbones
from mmmamba.ops import selective_scan

ROOT = Path(__file__).parents[2]
ENTRIES = {
    entry['Name']: entry
    for page in sorted(ROOT.glob('configs/*/metafile.yml'))
    for entry in yaml.safe_load(page.read_text())['Models']
}
QUICK = (
    'vmamba-t_8xb128-300e_in1k',
    'vmamba-s_8xb128-300e_in1k',
    'vmamba-t-v0_8xb128-300e_in1k',
    'mask-rcnn_vmamba-t_fpn_1x_coco',
    'upernet_vmamba-t_8xb2-160k_ade20k-512x512',
)
# Published figures that are not the count of the published model; the README of the family says so.
DIFFERENT = {
    'mask-rcnn_vmamba-s_fpn_1x_coco': 348.9e9,
    'mask-rcnn_vmamba-s_fpn_ms-3x_coco': 348.9e9,
    'efficient-vmamba-t_16xb128-300e_in1k': 0.903e9,
    'efficient-vmamba-s_16xb128-300e_in1k': 1.476e9,
    'efficient-vmamba-b_16xb128-300e_in1k': 4.210e9,
    'mask-rcnn_efficient-vmamba-t_fpn_1x_coco': 188.0e9,
    'upernet_efficient-vmamba-t_8xb2-160k_ade20k-512x512': 860.4e9,
    'upernet_efficient-vmamba-s_8xb2-160k_ade20k-512x512': 873.9e9,
    'msvmamba-t-v3_8xb128-300e_in1k': 5.13e9,
    'mask-rcnn_msvmamba-t_fpn_1x_coco': 265.0e9,
    'mask-rcnn_msvmamba-t_fpn_ms-3x_coco': 265.0e9,
    'groupmamba-t_8xb128-300e_in1k': 4.71e9,
    'groupmamba-s_8xb128-300e_in1k': 7.28e9,
    'mask-rcnn_groupmamba-t_fpn_1x_coco': 266.1e9,
    'mambavision-t_32xb128-310e_in1k': 4.586e9,
    'mambavision-t2_32xb128-310e_in1k': 5.263e9,
    'upernet_mambavision-t_8xb2-160k_ade20k-512x512': 1085.6e9,
    'upernet_mambavision-s_8xb2-160k_ade20k-512x512': 1166.3e9,
    'upernet_mambavision-b_8xb2-160k_ade20k-512x512': 1520.8e9,
    'simba-s_8xb128-310e_in1k': 6.863e9,
    'simba-b_8xb128-310e_in1k': 10.099e9,
    'simba-l_8xb128-310e_in1k': 20.156e9,
    'simba-s-einfft_8xb128-310e_in1k': 4.615e9,
    'simba-b-einfft_8xb128-310e_in1k': 7.060e9,
    'simba-l-einfft_8xb128-310e_in1k': 12.979e9,
    'mask-rcnn_simba-s_fpn_1x_coco': 309.6e9,
    'upernet_simba-s_8xb2-160k_ade20k-512x512': 985.8e9,
}


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


PUBLISHED = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name, entry in ENTRIES.items()
    if 'FLOPs' in entry['Metadata']
]


@pytest.mark.parametrize('name', PUBLISHED)
def test_count_is_the_published_one_within_two_percent(name):
    entry = ENTRIES[name]
    cfg = load_config(str(ROOT / entry['Config']))
    found = count_inference(build_on_meta(cfg), PUBLISHED_SIZES[cfg.default_scope])['']
    assert found.parameters == entry['Metadata']['Parameters']
    assert found.flops == pytest.approx(DIFFERENT.get(name, entry['Metadata']['FLOPs']), rel=0.02)


# Classifiers of families whose authors count everything. MambaVision's leave out the products of attention, norms and
# scans, EfficientVMamba's the scans.
AUTHORS = {
    ('VMamba', 'base_s2l15'): 15.4, ('LocalVMamba', 'tiny'): 5.7, ('MSVMamba', 'tiny'): 4.61, ('PlainMamba', 'l1'): 3.0,
}  # fmt: skip


@pytest.mark.parametrize(('name', 'arch'), AUTHORS)
def test_backbone_counts_what_its_authors_print(name, arch):
    with torch.device('meta'):
        model = getattr(backbones, name)(arch, out_indices=(-1,)).eval()
    assert count_inference(model, (224, 224))[''].flops / 1e9 == pytest.approx(AUTHORS[name, arch], rel=0.02)


def test_table_shows_modules_to_a_depth_and_names_the_unit():
    with torch.device('meta'):
        model = VMamba(dict(embed_dims=[8], depths=[1]), out_indices=(0,))
    lines = list(table(model, count_inference(model, (8, 8)), depth=1))
    assert [line.split()[0] for line in lines[1:-1]] == ['VMamba', 'patch_embed:', 'stages:', 'out_norms:']
    assert 'MACs' in lines[-1]


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
