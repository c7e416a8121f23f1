"""From the authors' layout to ours and back without a model, and the tool that does it to files."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from vmamba_files import backbone, classifier, same_weights, small_arch

from mmmamba.checkpoints import CheckpointError, conversion, convert, export, load_file, load_weights
from mmmamba.checkpoints.conformance import read_cases
from mmmamba.checkpoints.families import FAMILIES
from mmmamba.checkpoints.vmamba import VMAMBA
from mmmamba.registry import MODELS

TOOL = Path(__file__).parents[2] / 'tools' / 'model_converters' / 'convert_checkpoint.py'
AROUND = {'neck.lateral_convs.0.conv.weight': torch.ones(2, 2, 1, 1), 'rpn_head.rpn_cls.bias': torch.ones(3)}


def whole(weights):
    return {f'backbone.{name}': value for name, value in weights.items()}


def same_values(a, b):
    """In whatever order."""
    return same_weights(dict(sorted(a.items())), dict(sorted(b.items())))


def test_a_classifier_goes_both_ways():
    model = classifier()
    published = export(model)
    there = convert(dict(model=published))
    assert there.family is VMAMBA
    assert there.layout == 'ours'
    assert same_values(there.weights, model.state_dict())
    back = convert(dict(state_dict=there.weights))
    assert back.layout == 'published'
    assert same_weights(back.weights, published)


def test_a_backbone_goes_both_ways_with_or_without_its_prefix():
    model = backbone()
    there = convert(export(model))
    assert same_values(there.weights, whole(model.state_dict()))
    for ours in (model.state_dict(), there.weights):
        assert same_weights(convert(ours).weights, export(model))


def test_a_detector_keeps_what_is_around_its_backbone():
    published = whole(export(backbone())) | AROUND
    there = convert(dict(state_dict=published, meta={}))
    assert same_weights({k: v for k, v in there.weights.items() if k in AROUND}, AROUND)
    assert whole(backbone().state_dict()).keys() | AROUND.keys() == there.weights.keys()
    assert same_weights(convert(there.weights).weights, published)


def test_the_architecture_is_told():
    text = str(convert(export(backbone('tiny_s1l8'))))
    assert text == "VMamba 'tiny_s1l8', 280 tensors, layout: ours"


def test_a_family_with_names_alike_is_told_apart_in_any_scope():
    published = export(backbone(small_arch('v0_tiny')))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert convert(published).family is VMAMBA


@pytest.mark.parametrize('entry', ['model_ema', 'state_dict_ema'])
def test_the_moving_average_is_taken_where_it_is_asked_for(entry):
    plain, average = backbone(), backbone(seed=1)
    checkpoint = dict(model=export(plain)) | {entry: {f'module.{k}': v for k, v in export(average).items()}}
    assert same_values(convert(checkpoint).weights, whole(plain.state_dict()))
    assert same_values(convert(checkpoint, ema=True).weights, whole(average.state_dict()))
    twin = backbone(seed=2)
    load_weights(twin, checkpoint, ema=True)
    assert same_weights(twin, average)


def test_a_file_without_a_moving_average_is_named():
    with pytest.raises(
        CheckpointError, match=r"no moving average .* entries are \['model'\], none of them model_ema or"
    ):
        convert(dict(model=export(backbone())), ema=True)


def test_a_moving_average_alone_is_pointed_out():
    with pytest.raises(CheckpointError, match="'model_ema' is a moving average, which ema=True takes"):
        convert(dict(model_ema=export(backbone())))


@pytest.mark.parametrize('weights', [
    {'conv1.weight': torch.ones(2, 2)},
    {'layers.0.blocks.0.attn.qkv.weight': torch.ones(2, 2)},
], ids=['ours', 'published'])  # fmt: skip
def test_weights_of_no_family_are_refused_with_the_reasons(weights):
    with pytest.raises(CheckpointError, match=r'these weights fit none of \[.*vmamba: '):
        convert(weights)


def test_an_unknown_family_is_named():
    with pytest.raises(CheckpointError, match=r"family 'zebra' is not one of \[.*'vmamba'"):
        convert(export(backbone()), family='zebra')


def test_weights_that_fit_two_families_need_its_name(monkeypatch):
    twin = replace(VMAMBA, name='twin')
    monkeypatch.setattr(conversion, 'FAMILIES', (VMAMBA, twin))
    published = export(backbone())
    with pytest.raises(CheckpointError, match=r'fit several families \(vmamba, twin\); say which one'):
        convert(published)
    assert convert(published, family='twin').family is twin
    lossy = replace(VMAMBA, name='lossy', to_published=lambda ours: {'layers.0': torch.ones(1)})
    monkeypatch.setattr(conversion, 'FAMILIES', (lossy, VMAMBA))
    assert convert(published).family is VMAMBA


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_the_tool_writes_files_that_go_both_ways(tmp_path, monkeypatch, capsys):
    model = classifier()
    theirs, ours, back = tmp_path / 'theirs.pth', tmp_path / 'new' / 'ours.pth', tmp_path / 'back.pth'
    torch.save(dict(model=export(model), epoch=300), theirs)
    run_tool(monkeypatch, theirs, ours)
    assert 'ours.pth: VMamba dict(depths=[1, 2, 1, 1]' in capsys.readouterr().out
    assert same_values(load_file(ours)['state_dict'], model.state_dict())
    run_tool(monkeypatch, ours, back, '--family', 'vmamba')
    assert same_weights(load_file(back)['model'], export(model))
    with pytest.raises(SystemExit, match=r"back.pth' exists; name a new file"):
        run_tool(monkeypatch, theirs, back)


def test_the_tool_reads_other_objects_only_where_the_file_is_trusted(tmp_path, monkeypatch):
    path, out = tmp_path / 'w.pth', tmp_path / 'out.pth'
    torch.save(dict(model=export(classifier()), epochs=range(300)), path)
    with pytest.raises(SystemExit, match=r"range', which is not on the allow list.*convert_checkpoint.py --trust"):
        run_tool(monkeypatch, path, out)
    run_tool(monkeypatch, path, out, '--trust')
    assert same_values(load_file(out)['state_dict'], classifier().state_dict())


CASES = {case.name: case for case in read_cases(Path(__file__).parents[1] / 'data' / 'conformance')}


@pytest.mark.parametrize('name', [name for name in CASES if 'custom_small' in name])
def test_golden_classifiers_and_backbones_go_both_ways(name):
    """Of every family and kind: with several class tokens or none, a norm in the neck, two classifiers."""
    info = CASES[name].info
    family = next(family for family in FAMILIES if family.name == info['family'])
    published = export(MODELS.build(family.model_config(info['constructor'], info['kwargs'])))
    assert [(name, list(w.shape)) for name, w in published.items()] == [(name, s) for name, s, _ in info['state_dict']]
    there = convert(published)
    assert (there.family, there.layout) == (family, 'ours')
    back = convert(there.weights)
    assert (back.family, back.layout) == (family, 'published')
    assert same_weights(back.weights, published)
