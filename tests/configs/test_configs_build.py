"""Every config is read and its model built, on PyTorch's meta device, and counts and spares what the authors' did."""

from pathlib import Path

import pytest
import torch
import yaml
from config_options import load_with_options
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmmamba.checkpoints import export
from mmmamba.checkpoints.loading import published_names
from mmmamba.registry import MODELS

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/*.py') if '_base_' not in path.parts)
PAGES = sorted(ROOT.glob('configs/*/metafile.yml'))
ENTRIES = [entry for page in PAGES for entry in yaml.safe_load(page.read_text())['Models']]
# Authors' classifiers, counted on their code.
CLASSIFIERS = {
    'vmamba/vmamba-t_8xb128': 30_249_064,
    'vmamba/vmamba-t-s2l5_8xb128': 30_705_832,
    'vmamba/vmamba-s_8xb128': 50_147_752,
    'vmamba/vmamba-s-s1l20_8xb128': 49_012_840,
    'vmamba/vmamba-b_8xb128': 88_557_800,
    'vmamba/vmamba-b-s1l20_8xb128': 86_614_504,
    'vmamba/vmamba-t-v0_8xb128': 22_893_448,
    'vmamba/vmamba-s-v0_8xb128': 44_417_416,
    'vmamba/vmamba-b-v0_8xb128': 76_254_056,
    'efficient_vmamba/efficient-vmamba-t_16xb128': 6_493_660,
    'efficient_vmamba/efficient-vmamba-s_16xb128': 11_273_688,
    'efficient_vmamba/efficient-vmamba-b_16xb128': 33_717_136,
    'groupmamba/groupmamba-t_8xb128': 23_361_917,
    'groupmamba/groupmamba-s_8xb128': 34_781_555,
    'groupmamba/groupmamba-b_8xb128': 57_150_838,
    'local_vmamba/local-vmamba-t_8xb128': 25_527_160,
    'local_vmamba/local-vmamba-s_8xb128': 49_748_536,
    'msvmamba/msvmamba-n_8xb128': 6_864_136,
    'msvmamba/msvmamba-m_8xb128': 11_879_272,
    'msvmamba/msvmamba-t_8xb128': 33_046_312,
    'mambavision/mambavision-t_32xb128': 31_794_248,
    'mambavision/mambavision-t2_32xb128': 35_104_008,
    'mambavision/mambavision-s_32xb128': 50_140_584,
    'mambavision/mambavision-b_32xb128': 97_685_288,
    'mambavision/mambavision-l_32xb128': 227_961_048,
    'mambavision/mambavision-l2_32xb128': 241_554_824,
    'plain_mamba/plainmamba-l1_8xb256': 7_551_656,
    'plain_mamba/plainmamba-l2_8xb256': 26_145_832,
    'plain_mamba/plainmamba-l3_8xb256': 50_956_456,
    'mamba_nd/mamba-2d-s_8xb128': 24_505_192,
    'mamba_nd/mamba-2d-b_8xb128': 94_425_832,
    'simba/simba-s_8xb128': 26_591_088,
    'simba/simba-b_8xb128': 40_209_744,
    'simba/simba-l_8xb128': 66_762_512,
    'simba/simba-s-einfft_8xb128': 15_309_104,
    'simba/simba-b-einfft_8xb128': 22_819_984,
    'simba/simba-l-einfft_8xb128': 36_641_264,
}


@pytest.fixture(scope='module')
def built():
    """Config and model, on the meta device, of a config; made once each."""
    made = {}

    def build(path):
        if path not in made:
            cfg = load_with_options(ROOT / path)
            init_default_scope(cfg.default_scope)
            with torch.device('meta'):
                made[path] = cfg, MODELS.build(cfg.model)
        return made[path]

    return build


@pytest.mark.parametrize('path', CONFIGS)
def test_config_builds(path, built):
    cfg, model = built(path)
    assert cfg.custom_imports.imports == ['mmmamba']
    assert _parameters(model) > 0


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['Name'])
def test_metafile_counts_the_parameters(entry, built):
    _, model = built(entry['Config'])
    assert _parameters(model) == entry['Metadata']['Parameters']


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_classifier_has_the_authors_number_of_parameters(name, built):
    (path,) = ROOT.glob(f'configs/{name}-*_in1k.py')
    _, model = built(str(path.relative_to(ROOT)))
    assert _parameters(model) == CLASSIFIERS[name]


@pytest.mark.parametrize(
    ('name', 'rate'),
    [
        ('vmamba/vmamba-t_8xb128', 0.05),
        ('vmamba/vmamba-t-v0_8xb128', 0.05),
        ('efficient_vmamba/efficient-vmamba-t_16xb128', 0.04),
        ('groupmamba/groupmamba-t_8xb128', 0.05),
        ('local_vmamba/local-vmamba-t_8xb128', 0.04),
        ('medmamba/medmamba-t_8xb128', 0.05),
        ('msvmamba/msvmamba-t_8xb128', 0.05),
        ('msvmamba/msvmamba-t-v3_8xb128', 0.05),
    ],
)
def test_weight_decay_on_imagenet_spares_what_the_authors_spare(name, rate, built):
    cfg, model = built(f'configs/{name}-300e_in1k.py')
    decay = {id(group['params'][0]): group['weight_decay'] for group in _optimizer(cfg, model).param_groups}
    numbers = {key: torch.tensor(i).expand(p.shape) for i, (key, p) in enumerate(model.named_parameters())}
    published = {int(p.flatten()[0]): (key, p) for key, p in published_names(model, numbers).items()}
    for i, parameter in enumerate(model.parameters()):
        key, theirs = published[i]
        assert decay[id(parameter)] == (0 if theirs.dim() == 1 or key.endswith('.bias') else rate), key


def test_detector_spares_norms_from_weight_decay(built):
    cfg, model = built('configs/vmamba/mask-rcnn_vmamba-t_fpn_1x_coco.py')
    decay = {id(group['params'][0]): group['weight_decay'] for group in _optimizer(cfg, model).param_groups}
    for key, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0 if 'norm' in key else 0.05), key


def test_published_backbone_is_loaded_by_options(tmp_path):
    arch = dict(embed_dims=[8, 16, 32, 64], depths=[1, 1, 1, 1])
    head = dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=64)
    backbone = dict(type='mmmamba.VMamba', arch=arch, out_indices=(3,))
    classifier = MODELS.build(dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head))
    torch.save(dict(model=export(classifier)), tmp_path / 'vssm.pth')
    option = 'model.backbone.init_cfg'
    cfg = load_with_options(
        ROOT / 'configs/vmamba/mask-rcnn_vmamba-t_fpn_1x_coco.py',
        f'{option}.type=mmmamba.Pretrained {option}.checkpoint={tmp_path / "vssm.pth"}',
    )
    init_default_scope('mmdet')
    cfg.model.backbone.arch = arch
    cfg.model.neck.in_channels = arch['embed_dims']
    detector = MODELS.build(cfg.model)

    detector.init_weights()

    loaded = detector.backbone.state_dict()
    for key, expected in classifier.backbone.state_dict().items():
        if 'out_norms' not in key:  # a classifier has one of the four, so all four start fresh
            assert torch.equal(loaded[key], expected), key


def _parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _optimizer(cfg, model):
    return build_optim_wrapper(model, cfg.optim_wrapper).optimizer
