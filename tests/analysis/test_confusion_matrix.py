"""Counting detections."""

import numpy as np
import torch

from mmmamba.analysis.confusion_matrix import add_detections


def test_matches_mistakes_false_alarms_and_misses_are_counted():
    objects = [dict(bbox=[0, 0, 10, 10], bbox_label=0), dict(bbox=[20, 20, 30, 30], bbox_label=1),
               dict(bbox=[50, 50, 60, 60], bbox_label=1)]  # fmt: skip
    boxes = torch.tensor([[0, 0, 10, 9], [20, 20, 30, 30], [80, 80, 90, 90]])
    matrix = np.zeros((3, 3), dtype=np.int64)
    add_detections(matrix, objects, boxes, torch.tensor([0, 0, 1]), 0.5)
    assert matrix.tolist() == [
        [1, 0, 0],  # found
        [1, 0, 2],  # one taken for class 0, which misses it; one not found
        [0, 1, 0],  # a false alarm
    ]


def test_images_without_objects_or_boxes_are_fine():
    matrix = np.zeros((2, 2), dtype=np.int64)
    add_detections(matrix, [], torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0.5)
    add_detections(matrix, [], torch.tensor([[0, 0, 5, 5]]), torch.tensor([0]), 0.5)
    add_detections(matrix, [dict(bbox=[0, 0, 5, 5], bbox_label=0)], torch.zeros(0, 4), torch.zeros(0).long(), 0.5)
    assert matrix.tolist() == [[0, 1], [1, 0]]
