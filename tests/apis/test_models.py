"""Models by name."""

import pytest
import torch

from mmmamba.apis import get_model, list_models
from mmmamba.checkpoints import CheckpointError
from mmmamba.engine import UserError

DEMO = 'cls_vmamba-nano_handwriting'


def test_names_are_those_of_the_configs():
    assert 'upernet_vmamba-t_8xb2-160k_ade20k-512x512' in list_models('upernet_vmamba')
    assert list_models('cls_vmamba') == [DEMO]


def test_a_model_is_built_from_a_name_and_options():
    model = get_model(DEMO, head=dict(num_classes=7))
    assert model.extract_feat(torch.zeros(1, 3, 32, 32))[0].shape == (1, 224)
    assert model.head.num_classes == 7
    assert not model.training


def test_weights_are_loaded_strictly(tmp_path):
    torch.manual_seed(1)
    saved = get_model(DEMO)
    torch.save({'state_dict': saved.state_dict(), 'meta': {'dataset_meta': {'classes': tuple('abcdefghij')}}},
               tmp_path / 'w.pth')  # fmt: skip
    loaded = get_model(DEMO, tmp_path / 'w.pth')
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in saved.state_dict().items())
    assert loaded.dataset_meta['classes'] == tuple('abcdefghij')
    with pytest.raises(CheckpointError, match='does not fit'):
        get_model(DEMO, tmp_path / 'w.pth', head=dict(num_classes=7))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / 'ran'), 'w')

    torch.save({'state_dict': {}, 'bomb': Bomb()}, tmp_path / 'bomb.pth')
    with pytest.raises(CheckpointError, match='not on the allow list'):
        get_model(DEMO, tmp_path / 'bomb.pth')
    assert not (tmp_path / 'ran').exists()


def test_a_detector_knows_the_classes_of_its_config():
    meta = get_model('mask-rcnn_vmamba-nano_handwriting').dataset_meta
    assert tuple(meta['classes']) == tuple('0123456789')
    assert 'palette' not in meta  # CocoDataset's would be that of other classes


def test_what_does_not_exist_is_one_line():
    with pytest.raises(UserError, match=r'did you mean cls_vmamba-nano_handwriting'):
        get_model('cls_vmamba-nano_handwritten')
    with pytest.raises(UserError, match='hosts no weights'):
        get_model(DEMO, pretrained=True)
