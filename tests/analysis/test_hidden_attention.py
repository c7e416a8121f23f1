"""Hidden attention is exactly what the scans compute, and lands where the pixels are."""

import pytest
import torch
from torch import nn

from mmmamba.analysis import hidden_attention
from mmmamba.analysis.attention_maps import (
    attention_heat,
    attribution_map,
    layers_of,
    overlay,
    raw_map,
    rollout_map,
    stages_of,
)
from mmmamba.analysis.hidden_attention import attention, channel_matrices, reconstruction_error, record_scans
from mmmamba.engine import UserError
from mmmamba.layers import SS2D, MambaMixer, MapMambaMixer
from mmmamba.models import Vim, VMamba

TINY = dict(embed_dims=[8, 16], depths=[1, 2], patch_size=4)
MIXERS = {
    'cross': lambda: SS2D(6, d_state=1),
    'gated': lambda: SS2D(6, d_state=4, gate=True, conv_bias=True),
    'windows': lambda: SS2D(6, d_state=2, scan=['window:2', 'raster.transpose.reverse']),
    'bidirectional': lambda: MambaMixer(6, d_state=3, directions=('forward', 'backward')),
    'columns': lambda: MapMambaMixer(6, d_state=3, scan='raster.transpose'),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def recorded(mixer, x):
    mixer = mixer.double().eval()
    with torch.no_grad():
        return record_scans(mixer, lambda: mixer(x.double()))


@pytest.mark.parametrize('name', MIXERS)
@pytest.mark.parametrize('chunk', [2**23, 50], ids=['whole', 'chunked'])
def test_the_matrices_give_what_the_scan_returned(name, chunk, monkeypatch):
    monkeypatch.setattr(hidden_attention, 'CHUNK', chunk)
    x = torch.randn(2, 20, 6) if name == 'bidirectional' else torch.randn(2, 4, 5, 6)
    records, _ = recorded(MIXERS[name](), x)
    assert len(records) == (2 if name == 'bidirectional' else 1)
    for record in records:
        assert reconstruction_error(record) < 1e-12
        assert reconstruction_error(record, torch.tensor([7, 0])) < 1e-12


def test_rows_and_channels_in_chunks_are_the_whole(monkeypatch):
    ((record,), _) = recorded(MIXERS['gated'](), torch.randn(1, 3, 4, 6))
    whole = attention(record)
    monkeypatch.setattr(hidden_attention, 'CHUNK', 300)
    torch.testing.assert_close(attention(record), whole)
    torch.testing.assert_close(attention(record, torch.tensor([5, 2])), whole[:, [5, 2]])
    torch.testing.assert_close(torch.cat(list(channel_matrices(record)), -1).mean(-1), whole)


def test_a_route_looks_back_along_itself_only():
    ((record,), _) = recorded(MIXERS['columns'](), torch.randn(1, 3, 4, 6))
    matrix = attention(record)[0]
    order = torch.arange(12).view(3, 4).T.flatten()  # columns one after the other
    step = order.argsort()
    assert (matrix[step[:, None] < step[None]] == 0).all()
    assert (matrix[step[:, None] >= step[None]] != 0).all()


def test_layers_and_stages_of_a_pyramid():
    model = VMamba(TINY, out_indices=(1,)).eval()
    with torch.no_grad():
        records, _ = record_scans(model, lambda: model(torch.randn(1, 3, 32, 48)))
    stages = stages_of(layers_of(model, records))
    assert [[layer.name for layer in stage] for stage in stages] == [
        ['stages.0.blocks.0'], ['stages.1.blocks.0', 'stages.1.blocks.1']
    ]  # fmt: skip
    assert [stage[0].grid for stage in stages] == [(8, 12), (4, 6)]
    assert raw_map(stages[0][0], '3,4').shape == (1, 8, 12)
    assert rollout_map(stages[1], 'mean').shape == (1, 4, 6)


def test_rollout_is_the_product_of_the_rows():
    model = VMamba(TINY, out_indices=(1,)).eval()
    with torch.no_grad():
        records, _ = record_scans(model, lambda: model(torch.randn(1, 3, 32, 32)))
    stage = stages_of(layers_of(model, records))[1]
    first, second = (attention(layer.records[0]).abs()[0] + torch.eye(16) for layer in stage)
    product = (second / second.sum(1, keepdim=True)) @ (first / first.sum(1, keepdim=True))
    torch.testing.assert_close(rollout_map(stage, 'mean')[0].flatten(), product.mean(0))
    row = product[9].clone()
    row[9] = 0
    torch.testing.assert_close(rollout_map(stage, '2,1')[0].flatten(), row)


def test_a_class_token_is_the_query_of_vim():
    arch = dict(embed_dims=16, num_layers=2, patch_size=8, stride=8, img_size=32)
    model = Vim(arch).eval()
    with torch.no_grad():
        records, _ = record_scans(model, lambda: model(torch.randn(1, 3, 32, 32)))
    layers = layers_of(model, records)
    assert [len(layer.records) for layer in layers] == [2, 2]
    assert layers[0].places == (8,)
    assert layers[0].grid == (4, 4)
    assert rollout_map(layers, 'class').shape == (1, 4, 4)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = VMamba(TINY, out_indices=(1,))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.backbone(x)[0].mean((2, 3)))


def test_attribution_differs_between_classes():
    model, maps = Classifier().eval(), []
    image = torch.randn(1, 3, 32, 32)
    for label in range(2):
        records, logits = record_scans(model, lambda: model(image))
        logits[0, label].backward()
        maps.append(attribution_map(stages_of(layers_of(model, records))[-1], 'mean'))
    assert maps[0].shape == (1, 4, 4)
    assert (maps[0] >= 0).all()
    assert not torch.allclose(maps[0], maps[1])


def test_attribution_without_a_gradient_says_so():
    model = Classifier().eval()
    records, _ = record_scans(model, lambda: model(torch.randn(1, 3, 32, 32)))
    with pytest.raises(UserError, match='has no gradient'):
        attribution_map(layers_of(model, records), 'mean')


@pytest.mark.parametrize(('query', 'message'), [
    ('class', 'no class token'), ('9,9', 'ROW,COLUMN of a map of 4x4'), ('left', "query 'left' is not"),
])  # fmt: skip
def test_an_unknown_query_says_what_there_is(query, message):
    model = VMamba(TINY, out_indices=(1,)).eval()
    with torch.no_grad():
        records, _ = record_scans(model, lambda: model(torch.randn(1, 3, 32, 32)))
    with pytest.raises(UserError, match=message):
        raw_map(layers_of(model, records)[-1], query)


def test_a_scan_of_other_tokens_than_pixels_is_refused():
    model = VMamba(TINY, out_indices=(1,), scan='continuous').eval()
    with torch.no_grad():
        records, _ = record_scans(model, lambda: model(torch.randn(1, 3, 32, 32)))
    assert reconstruction_error(records[0]) < 1e-5
    with pytest.raises(UserError, match='does not scan the pixels of its map as they lie'):
        layers_of(model, records)


def test_windows_that_are_scanned_one_by_one_are_refused():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = VMamba(dict(embed_dims=[8], depths=[1], patch_size=4), out_indices=(0,)).eval()
            self.whole = self.backbone.forward
            self.backbone.forward = lambda x: self.whole(torch.cat(x.chunk(2, dim=2)))

    with pytest.raises(UserError, match='scans windows of its map one by one'):
        attention_heat(Windows(), torch.randn(1, 3, 32, 32), 'raw')


def test_a_model_without_scans_is_refused():
    with pytest.raises(UserError, match='no selective scan ran'):
        layers_of(nn.Linear(1, 1), [])


def test_an_overlay_is_hot_where_the_map_is():
    image = torch.full((40, 40, 3), 128, dtype=torch.uint8).numpy()
    heat = torch.zeros(4, 4)
    heat[0, 3] = 1
    picture = overlay(image, heat)
    assert picture[3, 36, 2] > picture[3, 36, 0]  # red in the corner
    assert picture[36, 3, 0] > picture[36, 3, 2]  # blue opposite
