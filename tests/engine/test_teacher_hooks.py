"""The hooks that give a model its teacher."""

from importlib.util import find_spec
from itertools import count

import pytest
import torch

from mmmamba.engine import Runner, UserError
from mmmamba.engine.config import load_config
from mmmamba.engine.hooks import MESAHook

pytestmark = pytest.mark.usefixtures('no_formatting')

TAUGHT = {
    'model.type': 'mmmamba.TaughtClassifier',
    'model.backbone.drop_path_rate': 0.0,
    'model.head.type': 'mmmamba.TaughtLinearClsHead',
    'model.head.loss_teacher': dict(type='mmmamba.TeacherDivergenceLoss'),
}
EMA = dict(type='EMAHook', momentum=0.1)


@pytest.fixture
def runner(config, tmp_path):
    names = count()  # runs of one name that begin within a second would share their log

    def build(hooks, options=TAUGHT, **more):
        options = {'work_dir': str(tmp_path / 'run'), 'custom_hooks': hooks, **options, **more}
        options['experiment_name'] = f'{tmp_path.name}_{next(names)}'
        return Runner.from_cfg(load_config(config, options))

    return build


def logged(runner, name):
    return torch.tensor(runner.message_hub.get_scalar(f'train/{name}').data[0])


def test_the_average_teaches_from_the_given_part_of_the_training_on(runner):
    run = runner([EMA, dict(type='mmmamba.MESAHook', begin=0.5)])
    run.train()
    assert logged(run, 'loss').shape == (12,)
    assert logged(run, 'loss_teacher').shape == (6,)
    assert (logged(run, 'loss_teacher') > 0).all()
    torch.testing.assert_close(
        logged(run, 'loss_class') + logged(run, 'loss_teacher'), logged(run, 'loss')[6:], rtol=1e-5, atol=0
    )


def test_a_model_is_as_far_from_its_average_as_its_steps_have_brought_it(runner):
    run = runner([EMA, dict(type='mmmamba.MESAHook', begin=0.0)])
    run.train()
    divergence = logged(run, 'loss_teacher')
    assert divergence.shape == (11,)  # it starts as the model after the first step
    assert abs(divergence[0]) < 1e-7
    assert (divergence[1:] > 1e-7).all()


def test_a_resumed_run_learns_from_the_same_average(runner, tmp_path):
    hooks = [EMA, dict(type='mmmamba.MESAHook', begin=0.2)]
    whole = runner(hooks)
    whole.train()
    resumed = runner(hooks, work_dir=str(tmp_path / 'resumed'), load_from=f'{whole.work_dir}/epoch_2.pth', resume=True)
    resumed.train()
    assert logged(resumed, 'loss_teacher').shape == (9,)  # five of them from the checkpoint
    assert torch.equal(logged(resumed, 'loss_teacher'), logged(whole, 'loss_teacher'))


def test_mesa_needs_an_average(runner):
    with pytest.raises(UserError, match=r"no average to learn from; add dict\(type='EMAHook'\) to custom_hooks"):
        runner([dict(type='mmmamba.MESAHook')]).train()


def test_mesa_begins_within_the_training():
    with pytest.raises(ValueError, match='begin 25 is not between 0 and 1'):
        MESAHook(begin=25)


def teacher(checkpoint):
    return dict(
        type='mmmamba.TeacherHook',
        teacher=dict(
            type='ImageClassifier',
            backbone=dict(type='mmmamba.VMamba', arch=dict(embed_dims=[8], depths=[1], patch_size=2), out_indices=(0,)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=8),
            init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)),
        ),
    )


def test_a_trained_model_teaches_and_is_not_saved(runner, tmp_path):
    hook = teacher(tmp_path / 'teacher.pth')
    run = runner([hook])
    expected = run.build_model(dict(hook['teacher'], init_cfg=None))
    torch.save(expected.state_dict(), tmp_path / 'teacher.pth')
    run.train()
    assert logged(run, 'loss_teacher').shape == (12,)
    taught_by = run.model.teacher.state_dict()
    assert all(torch.equal(value, taught_by[name]) for name, value in expected.state_dict().items())
    saved = torch.load(tmp_path / 'run/epoch_3.pth', weights_only=False)['state_dict']
    assert sorted(saved) == sorted(runner([]).model.state_dict())


def test_a_teacher_without_its_weights_is_named(runner, tmp_path):
    with pytest.raises(UserError, match=r'the teacher cannot be built of .*nowhere\.pth'):
        runner([teacher(tmp_path / 'nowhere.pth')]).train()


@pytest.mark.skipif(find_spec('timm') is not None, reason='timm is installed')
def test_a_teacher_of_timm_says_that_timm_is_missing(runner):
    hook = dict(type='mmmamba.TeacherHook', teacher=dict(type='TimmClassifier', model_name='regnety_160.deit_in1k'))
    with pytest.raises(UserError, match=r'the teacher cannot be built of .*regnety_160.*pip install "timm"'):
        runner([hook]).train()


def test_a_model_that_cannot_learn_from_a_teacher_is_named(runner):
    with pytest.raises(UserError, match=r"ImageClassifier cannot learn .* model.type to 'mmmamba.TaughtClassifier'"):
        runner([EMA, dict(type='mmmamba.MESAHook')], options={}).train()
