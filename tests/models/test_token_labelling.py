"""Token labelling: what tokens and images learn, and the mixing of images."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mmmamba.models.heads.token_label import exchange, token_targets
from mmmamba.registry import MODELS

CLASSES = 6
ARCH = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], mlp_ratios=[2, 2, 2, 2], stem_dims=8)


def sample(seed, box=(0.0, 0.0, 1.0, 1.0), flip=None, size=4):
    """A sample with a map of two of the classes at each of ``size`` x ``size`` places, and the dense map."""
    rng = np.random.default_rng(seed)
    classes = rng.permuted(np.tile(np.arange(CLASSES), (size, size, 1)), axis=2)[..., :2]
    scores = rng.uniform(5, 9, (size, size, 2)).astype(np.float16)
    dense = np.zeros((size, size, CLASSES))
    np.put_along_axis(dense, classes, scores.astype(np.float64), 2)
    label = torch.from_numpy(np.stack([scores, classes.astype(np.float16)]).transpose(0, 3, 1, 2))
    made = DataSample(metainfo=dict(flip=flip is not None, flip_direction=flip))
    made.set_gt_label(0).set_field(label, 'token_label')
    made.set_field(torch.tensor(box), 'crop_box')
    return made, dense


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def pooled(dense, size):
    """Means of ``size`` x ``size`` equal parts."""
    h, w = dense.shape[0] // size, dense.shape[1] // size
    return dense.reshape(size, h, size, w, CLASSES).mean((1, 3))


@pytest.mark.parametrize(
    ('box', 'cut'),
    [
        ((0.0, 0.0, 1.0, 1.0), np.s_[:, :]),
        ((0.5, 0.0, 1.0, 0.5), np.s_[:2, 2:]),  # left, top, right, bottom
        ((0.0, 0.25, 0.5, 0.75), np.s_[1:3, :2]),
    ],
)
@pytest.mark.parametrize(
    ('flip', 'flipped'),
    [
        (None, np.s_[:, :]), ('horizontal', np.s_[:, ::-1]), ('vertical', np.s_[::-1]), ('diagonal', np.s_[::-1, ::-1]),
    ],
)  # fmt: skip
def test_targets_are_the_mean_scores_in_the_cut_and_flipped_map(box, cut, flip, flipped):
    samples, dense = zip(*(sample(seed, box, flip) for seed in range(2)), strict=True)
    of_images, of_tokens = token_targets(list(samples), CLASSES, (2, 2), torch.device('cpu'))
    for i in range(2):
        expected = softmax(pooled(dense[i][cut], 2)[flipped])
        np.testing.assert_allclose(of_tokens[i], expected, rtol=1e-5)
        np.testing.assert_allclose(of_images[i], softmax(dense[i][cut].mean((0, 1))), rtol=1e-5)


def test_exchange_takes_the_box_from_the_reversed_batch():
    x = torch.arange(3 * 4 * 5).reshape(3, 4, 5, 1)
    mixed = exchange(x, (1, 3, 2, 5))
    for i in range(3):
        for row in range(4):
            for column in range(5):
                source = 2 - i if 1 <= row < 3 and 2 <= column < 5 else i
                assert mixed[i, row, column] == x[source, row, column]
    assert torch.equal(exchange(mixed, (1, 3, 2, 5)), x)


def classifier():
    torch.manual_seed(0)
    block = dict(type='mmmamba.SiMBAClassBlock', embed_dims=32)
    linear = dict(
        type='mmpretrain.LinearClsHead', num_classes=CLASSES, in_channels=32,
        loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    )  # fmt: skip
    head = dict(type='mmmamba.TokenLabelHead', classifier=linear, class_block=block, token_loss_weight=0.5)
    backbone = dict(type='mmmamba.SiMBA', arch=ARCH, out_indices=(3,), final_norm=False)
    return MODELS.build(dict(type='mmmamba.TokenLabelClassifier', backbone=backbone, head=head))


def cross_entropy(scores, target):
    target = torch.as_tensor(target).to(scores)
    target = target * 0.9 + 0.1 / CLASSES
    return -(target * scores.log_softmax(-1)).sum(-1).mean()


@pytest.mark.parametrize('box', [(0, 0, 0, 0), (1, 2, 0, 2), (0, 2, 0, 1)])
def test_losses_of_the_head_are_those_of_the_paper(box):
    head, feats = classifier().head, torch.randn(2, 32, 2, 2, generator=torch.Generator().manual_seed(1))
    samples, dense = zip(*(sample(seed) for seed in range(2)), strict=True)
    losses = head.loss((feats,), list(samples), box)
    top, bottom, left, right = box
    share = (bottom - top) * (right - left) / 4
    classes = [softmax(each.mean((0, 1))) for each in dense]
    targets = [(1 - share) * classes[0] + share * classes[1], (1 - share) * classes[1] + share * classes[0]]
    scores = head.classifier.fc(head.norm(head.class_block(feats.permute(0, 2, 3, 1))))
    torch.testing.assert_close(losses['loss_class'], cross_entropy(scores, np.stack(targets)))

    of_tokens = np.stack([softmax(pooled(each, 2)) for each in dense])
    mixed = of_tokens.copy()  # the labels go where their tokens are
    mixed[:, top:bottom, left:right] = of_tokens[::-1, top:bottom, left:right]
    scores = head.aux_fc(head.norm(feats.permute(0, 2, 3, 1)))
    torch.testing.assert_close(losses['loss_token'], 0.5 * cross_entropy(scores, mixed))


def test_every_token_is_of_one_image_and_returns_to_it(monkeypatch):
    model = classifier()
    box = (0, 1, 1, 2)  # the upper right quarter, in tokens
    monkeypatch.setattr(model.cutmix, 'cutmix_bbox_and_lam', lambda size, share: ((0, 1, 1, 2), 0.75))
    seen = {}
    monkeypatch.setattr(model.head, 'loss', lambda feats, samples, box: seen.update(feats=feats, box=box))
    x = torch.randn(2, 3, 64, 64)
    model.eval()(x, [None, None], mode='loss')
    stem = exchange(model.backbone.patch_embed(x), (0, 8, 8, 16))
    monkeypatch.setattr(model.backbone, 'patch_embed', torch.nn.Identity())
    torch.testing.assert_close(seen['feats'], model.backbone(stem))
    assert seen['box'] == box


def test_boxes_are_drawn_anew_and_stay_on_the_map(monkeypatch):
    model, boxes = classifier(), []
    monkeypatch.setattr(model.head, 'loss', lambda feats, samples, box: boxes.append(box))
    monkeypatch.setattr(model, 'extract_feat', lambda inputs: None)
    np.random.seed(0)
    for _ in range(200):
        model.loss(torch.empty(2, 3, 224, 160), [None, None])
    assert len(set(boxes)) > 20
    assert all(0 <= top <= bottom <= 7 and 0 <= left <= right <= 5 for top, bottom, left, right in boxes)
    assert max((bottom - top) * (right - left) for top, bottom, left, right in boxes) > 15


def test_a_classifier_learns_from_maps_and_predicts_unmixed():
    model = classifier().train()
    samples = [sample(seed)[0] for seed in range(3)]
    x = torch.randn(3, 3, 64, 96)
    np.random.seed(0)
    losses = model(x, samples, mode='loss')
    assert sorted(losses) == ['loss_class', 'loss_token']
    sum(losses.values()).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    model.eval()
    assert not model.backbone.patch_embed._forward_hooks
    torch.testing.assert_close(model(x)[:1], model(x[:1]))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_targets_are_the_same_under_autocast(dtype):
    samples = [sample(seed)[0] for seed in range(2)]
    expected = token_targets(samples, CLASSES, (2, 2), torch.device('cpu'))
    with torch.autocast('cpu', dtype):
        found = token_targets(samples, CLASSES, (2, 2), torch.device('cpu'))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_samples_without_maps_are_named():
    model = classifier()
    with pytest.raises(ValueError, match=r'no token_label and crop_box; the pipeline needs mmmamba\.LoadTokenLabel'):
        model(torch.randn(2, 3, 64, 64), [DataSample().set_gt_label(0)] * 2, mode='loss')
