"""What stops a run before it is spoilt."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn

from mmmamba.engine import UserError, train
from mmmamba.engine.hooks.nan_guard import _first_bad_layer
from mmmamba.engine.labels import check_batch

pytestmark = pytest.mark.usefixtures('no_formatting')


class _Head(nn.Module):
    num_classes, ignore_index = 3, 255


def _instances(labels, boxes) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(img_path='street.jpg'))
    sample.gt_instances = InstanceData(labels=torch.tensor(labels), bboxes=torch.tensor(boxes, dtype=torch.float32))
    return sample


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_weights(config, tmp_path):
    with pytest.raises(UserError, match=r'iteration 2: .*loss.* not finite; first seen in the weights of backbone'):
        train(config, work_dir=str(tmp_path), options={'optim_wrapper.optimizer': dict(type='SGD', lr=float('inf'))})


def test_the_layer_where_a_nan_begins_is_named():
    class Log(nn.Module):
        def forward(self, x):
            return torch.log(x - 10)

    model = nn.Sequential(nn.Linear(2, 2), Log(), nn.Linear(2, 2))
    assert _first_bad_layer(model, (torch.ones(1, 2),), {}) == '1 (Log)'


def test_an_image_that_is_not_finite_is_named():
    assert _first_bad_layer(nn.Linear(2, 2), (torch.tensor([[1, float('nan')]]),), {}) == 'the input images'


def test_good_labels_pass():
    check_batch([_instances([0, 2], [[0, 0, 4, 4], [1, 1, 2, 3]])], _Head())


def test_a_box_label_outside_the_classes_names_image_and_label():
    with pytest.raises(UserError, match=r'street.jpg: label \[3\] is outside 0..2'):
        check_batch([_instances([3], [[0, 0, 4, 4]])], _Head())


@pytest.mark.parametrize('box', [[4, 0, 4, 4], [0, 5, 4, 4], [0, 0, float('nan'), 4]], ids=str)
def test_a_box_without_area_names_image_and_box(box):
    with pytest.raises(UserError, match=r'street.jpg: box .* has no area or is not finite'):
        check_batch([_instances([0], [box])], _Head())


def test_a_map_label_outside_the_classes_is_found_and_the_ignored_one_is_not():
    sample = SegDataSample(metainfo=dict(img_path='room.jpg'))
    sample.gt_sem_seg = PixelData(data=torch.tensor([[[0, 2, 255]]]))
    check_batch([sample], _Head())
    sample.gt_sem_seg = PixelData(data=torch.tensor([[[0, 3, 255]]]))
    with pytest.raises(UserError, match=r'room.jpg: label \[3\] is outside 0..2 or 255 .* reduce_zero_label=True'):
        check_batch([sample], _Head())


def test_a_class_label_outside_the_classes_is_found():
    with pytest.raises(UserError, match=r'label \[7\] is outside'):
        check_batch([DataSample().set_gt_label(7)], _Head())
