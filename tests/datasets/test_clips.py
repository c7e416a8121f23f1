"""Clips of videos, from the files to the loss, and the config of Mamba-ND."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, DefaultScope

from mmmamba.engine import Runner
from mmmamba.engine.config import load_config
from mmmamba.errors import UserError
from mmmamba.registry import TRANSFORMS

CONFIGS = Path(__file__).parents[2] / 'configs'


def write_video(path, frames, height=48, width=64):
    """Frame i is of one grey, 10 * i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (width, height))
    for i in range(frames):
        writer.write(np.full((height, width, 3), 10 * i, np.uint8))
    writer.release()


def load(path, **options):
    step = dict(dict(type='mmmamba.LoadClip', num_frames=4, size=(12, 20), mean=[0] * 3, std=[1] * 3), **options)
    return TRANSFORMS.build(step)(dict(img_path=str(path)))


@pytest.mark.parametrize(('frames', 'chosen'), [(12, [1, 4, 7, 10]), (4, [0, 1, 2, 3]), (2, [0, 0, 1, 1])], ids=str)
def test_the_middle_frame_of_each_part_is_taken(frames, chosen, tmp_path):
    write_video(tmp_path / 'a.avi', frames)
    results = load(tmp_path / 'a.avi')
    assert results['img'].shape == (3, 4, 12, 20)
    assert results['img'].dtype == np.float32
    assert (results['ori_shape'], results['img_shape']) == ((48, 64), (12, 20))
    assert np.abs(results['img'].mean((0, 2, 3)) - 10 * np.array(chosen)).max() < 2  # of the coding


def test_a_folder_of_images_is_a_video_of_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 30, 3), dtype=np.uint8)
    for i, frame in enumerate(pixels):
        cv2.imwrite(str(tmp_path / f'{i:03d}.png'), frame)
    found = load(tmp_path, mean=[10, 20, 30], std=[2, 4, 8])['img']
    rgb = pixels[:, :, 5:25, ::-1].transpose(3, 0, 1, 2).astype(np.float32)  # the middle, of the shape of the clip
    expected = (rgb - np.float32([10, 20, 30]).reshape(3, 1, 1, 1)) / np.float32([2, 4, 8]).reshape(3, 1, 1, 1)
    np.testing.assert_array_equal(found, expected)


def test_a_list_names_videos_that_are_folders_of_images(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / 'frames' / name).mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(tmp_path / 'frames' / name / f'{i}.png'), np.zeros((12, 20, 3), np.uint8))
    (tmp_path / 'list.txt').write_text('a 1\nb 0')
    pipeline = [dict(type='mmmamba.LoadClip', num_frames=4, size=(12, 20)), dict(type='PackInputs')]
    config = dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path), ann_file='list.txt', data_prefix='frames')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        samples = list(DATASETS.build(dict(config, pipeline=pipeline, metainfo=dict(classes=('x', 'y')))))
    assert [tuple(sample['inputs'].shape) for sample in samples] == [(3, 4, 12, 20)] * 2
    assert [sample['data_samples'].gt_label.item() for sample in samples] == [1, 0]


def test_what_is_no_video_is_named(tmp_path):
    with pytest.raises(UserError, match='a.avi'):
        load(tmp_path / 'a.avi')
    with pytest.raises(UserError, match='has no frame that can be read; encode it again'):
        load(tmp_path)
    (tmp_path / 'b.avi').write_bytes(b'no video')
    with pytest.raises(UserError, match="b.avi' has no frame that can be read"):
        load(tmp_path / 'b.avi')


def test_the_config_trains_on_clips(tmp_path):
    """Two iterations and a validation, of a small backbone on small clips."""
    for split, count in (('train', 2), ('val', 1)):
        for label in ('archery', 'bowling'):
            for i in range(count):
                write_video(tmp_path / split / label / f'{i}.avi', 5)
    cfg = load_config(str(CONFIGS / 'mamba_nd/mamba-3d-s_8xb16-51e_ucf101.py'))
    cfg.work_dir, cfg.randomness = str(tmp_path / 'work'), dict(seed=0)
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)
    cfg.train_cfg.max_epochs = 1
    cfg.model.backbone.arch = dict(embed_dims=16, num_layers=6, img_size=32, num_frames=4, d_state=4)
    cfg.model.head.in_channels = 16
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, batch_size=2, persistent_workers=False)
        loader.dataset.data_root = str(tmp_path)
        loader.dataset.pipeline[0].update(num_frames=4, size=(32, 32))
    runner = Runner.from_cfg(cfg)
    before = {key: parameter.detach().clone() for key, parameter in runner.model.named_parameters()}

    runner.train()

    losses = torch.tensor(runner.message_hub.get_scalar('train/loss').data[0])
    assert losses.shape == (2,)
    assert losses.isfinite().all()
    assert not [key for key, parameter in runner.model.named_parameters() if torch.equal(before[key], parameter)]
    assert 0 <= runner.message_hub.get_scalar('val/accuracy/top1').current() <= 100
