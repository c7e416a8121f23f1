"""Checkpoint files: what is read, what is refused, and that nothing in them runs."""

import argparse
import datetime
import os
import pickle
import re
import sys
import threading
import types
import warnings
from collections import OrderedDict
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from mmmamba.checkpoints import CheckpointError, load_file, unwrap

WEIGHTS = {'a.weight': torch.arange(6.0).view(2, 3), 'a.bias': torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}


def save(checkpoint, path, **options):
    torch.save(checkpoint, path, **options)
    return path


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'before torch 1.6'])
def test_a_saved_state_dict_is_read(tmp_path, zipped):
    path = save(WEIGHTS, tmp_path / 'w.pth', _use_new_zipfile_serialization=zipped)
    for given in (path, str(path)):
        assert same(load_file(given), WEIGHTS)


def test_a_home_directory_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    save(WEIGHTS, tmp_path / 'w.pth')
    assert same(load_file('~/w.pth'), WEIGHTS)


def test_what_an_mmengine_runner_stores_is_read(tmp_path):
    hub = MessageHub('test_files')
    for loss in (0.5, 0.25):
        hub.update_scalar('train/loss', np.float32(loss))
        hub.update_scalar('train/lr', torch.tensor(1e-4))
    hub.update_info('iter', np.int64(12))
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoint = dict(
        meta=dict(
            epoch=3, time=datetime.datetime(2024, 1, 31, 12), seed=np.int64(7), dataset_meta=dict(CLASSES=('a',))
        ),
        state_dict=OrderedDict(model.state_dict()),
        optimizer=optimizer.state_dict(),
        message_hub=hub.state_dict(),
        best_score=np.float64(0.75),
        curve=np.arange(3.0),
        eta=datetime.timedelta(hours=2),
    )
    found = load_file(save(checkpoint, tmp_path / 'epoch_3.pth'))
    assert same(found['state_dict'], checkpoint['state_dict'])
    assert found['meta'] == checkpoint['meta']
    assert found['best_score'] == 0.75
    assert found['curve'].tolist() == [0, 1, 2]
    assert found['eta'] == datetime.timedelta(hours=2)
    losses = found['message_hub']['log_scalars']['train/loss']
    assert isinstance(losses, HistoryBuffer)
    assert losses.mean() == 0.375
    assert losses.max() == 0.5
    assert losses.current() == 0.25


def test_parsed_arguments_are_read(tmp_path):
    arguments = argparse.Namespace(lr=1e-3, batch_size=128, size=(224, 224))
    path = save(dict(model=WEIGHTS, args=arguments), tmp_path / 'w.pth')
    assert load_file(path)['args'] == arguments


def test_a_yacs_config_is_read_as_a_dict_without_yacs(tmp_path, monkeypatch):
    module = types.ModuleType('yacs.config')

    class CfgNode(dict):  # pickled as the real one is: a dict with attributes
        pass

    CfgNode.__module__, CfgNode.__qualname__ = 'yacs.config', 'CfgNode'
    module.CfgNode = CfgNode
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, 'yacs', types.ModuleType('yacs'))
        patched.setitem(sys.modules, 'yacs.config', module)
        config = CfgNode(MODEL=CfgNode(NAME='vssm', DROP_PATH_RATE=0.2))
        config.__dict__.update(__immutable__=True, __deprecated_keys__=set(), __renamed_keys__={})
        path = save(dict(model=WEIGHTS, config=config), tmp_path / 'w.pth')
    assert 'yacs' not in sys.modules
    found = load_file(path)
    assert found['config']['MODEL'] == dict(NAME='vssm', DROP_PATH_RATE=0.2)
    assert same(found['model'], WEIGHTS)


@pytest.mark.parametrize('name', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_numpy_values_of_either_major_version_are_read(tmp_path, name):
    path = save(dict(model=WEIGHTS, epoch=np.float32(0.5)), tmp_path / 'w.pth', _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    mine = b'numpy._core.multiarray' if b'numpy._core.multiarray' in content else b'numpy.core.multiarray'
    assert mine in content
    path.write_bytes(content.replace(mine, name.encode()))
    assert load_file(path)['epoch'] == 0.5


# As the package safetensors 0.8.0 wrote it.
SAFETENSORS = (
    b'\xc0\x01\x00\x00\x00\x00\x00\x00{"__metadata__":{"format":"pt"},"count":{"dtype":"I64","shape":[],"data_offsets":'
    b'[0,8]},"d":{"dtype":"F64","shape":[1,1],"data_offsets":[8,16]},"a.weight":{"dtype":"F32","shape":[2,3],'
    b'"data_offsets":[16,40]},"empty":{"dtype":"F32","shape":[0,3],"data_offsets":[40,40]},"half":{"dtype":"BF16",'
    b'"shape":[2],"data_offsets":[40,44]},"f16":{"dtype":"F16","shape":[1],"data_offsets":[44,46]},"flag":{"dtype":'
    b'"BOOL","shape":[2],"data_offsets":[46,48]}}    \x07\x00\x00\x00\x00\x00\x00\x00Y\xf3\xf8\xc2\x1fn\xa5\x01\x00\x00'
    b'\x00\x00\x00\x00\x80>\x00\x00\x00?\x00\x00@?\x00\x00\x80?\x00\x00\xa0?\xc0?\x00\xc0\x004\x01\x00'
)


def test_safetensors_are_read(tmp_path):
    path = tmp_path / 'w.safetensors'
    path.write_bytes(SAFETENSORS)
    found = load_file(path)
    expected = {
        'count': torch.tensor(7),
        'd': torch.tensor([[1e-300]], dtype=torch.float64),
        'a.weight': torch.arange(6.0).view(2, 3) / 4,
        'empty': torch.zeros(0, 3),
        'half': torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        'f16': torch.tensor([0.25], dtype=torch.float16),
        'flag': torch.tensor([True, False]),
    }
    assert same(found, expected)
    assert {name: t.dtype for name, t in found.items()} == {name: t.dtype for name, t in expected.items()}
    found['a.weight'].zero_()  # writable, and nobody else's memory
    assert found['half'].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    'read', [lambda path: load_file(path, 'meta'), lambda path: load_file(path, torch.device('meta'))]
)
@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_tensors_go_where_they_are_wanted(tmp_path, suffix, read):
    path = tmp_path / f'w.{suffix}'
    path.write_bytes(SAFETENSORS) if suffix == 'safetensors' else save(WEIGHTS, path)
    assert {tensor.device.type for tensor in read(path).values()} == {'meta'}


# Refused.


@pytest.mark.parametrize('path', ['nowhere.pth', '/nowhere/w.safetensors'])
def test_a_missing_file_is_named(path):
    with pytest.raises(
        CheckpointError, match=rf"checkpoint '{path}' does not exist; give the path or http\(s\) address"
    ):
        load_file(path)


def test_a_work_directory_stands_for_its_latest_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=rf"no checkpoint epoch_N.pth or iter_N.pth in the folder '{tmp_path}'"):
        load_file(tmp_path)
    for epoch in (9, 10):
        save({'epoch': torch.tensor(epoch)}, tmp_path / f'epoch_{epoch}.pth')
    assert load_file(tmp_path)['epoch'] == 10


@pytest.mark.parametrize('value', [[1, 2], 'text', torch.ones(3)], ids=['list', 'str', 'Tensor'])
def test_a_file_without_a_dict_is_refused(tmp_path, value):
    with pytest.raises(CheckpointError, match=rf'holds a {type(value).__name__}, not a dict of weights'):
        load_file(save(value, tmp_path / 'w.pth'))


NOT_CHECKPOINTS = {
    'empty': b'',
    'text': b'<!DOCTYPE html><html>not found</html>',
    'picture': b'\x89PNG\r\n\x1a\n' + bytes(100),
    'zeros': bytes(1000),
    'zip of something else': b'PK\x05\x06' + bytes(18),
}


@pytest.mark.parametrize('kind', NOT_CHECKPOINTS)
@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_a_file_of_another_kind_is_refused(tmp_path, kind, suffix):
    path = tmp_path / f'w.{suffix}'
    path.write_bytes(NOT_CHECKPOINTS[kind])
    with pytest.raises(CheckpointError, match=rf"checkpoint '{re.escape(str(path))}' cannot be read"):
        load_file(path)


def _content(tmp_path, kind):
    if kind == 'safetensors':
        return SAFETENSORS
    checkpoint = dict(model=WEIGHTS, args=argparse.Namespace(lr=1e-3), epoch=3)
    path = save(checkpoint, tmp_path / 'whole.pth', _use_new_zipfile_serialization=kind == 'zip')
    return path.read_bytes()


@pytest.mark.parametrize('kind', ['zip', 'before torch 1.6', 'safetensors'])
def test_a_torn_file_is_refused_wherever_it_is_torn(tmp_path, kind):
    content, path = _content(tmp_path, kind), tmp_path / f'w.{"safetensors" if kind == "safetensors" else "pth"}'
    for end in {*range(0, len(content), 41), *range(len(content) - 20, len(content))}:
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match='cannot be read|not on the allow list'):  # torn within a class name
            load_file(path)


@pytest.mark.parametrize('kind', ['zip', 'before torch 1.6', 'safetensors'])
def test_a_damaged_file_is_read_or_refused_but_no_other_error(tmp_path, kind):
    content, path = _content(tmp_path, kind), tmp_path / f'w.{"safetensors" if kind == "safetensors" else "pth"}'
    random = np.random.RandomState(0)
    refused = 0
    warnings.simplefilter('ignore')  # torch warns of odd pickle protocols
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.randint(len(content), size=2):
            damaged[place] = random.randint(256)
        path.write_bytes(damaged)
        try:
            load_file(path)
        except CheckpointError:
            refused += 1
    assert refused > 30


# Hostile.


class Runs:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker):
    """Objects whose unpickling would make the file ``marker``."""
    touch = f'open({str(marker)!r}, "w").close()'
    look_up = Runs(getattr, HistoryBuffer, '__init__')
    return {
        'os.system': Runs(os.system, f'touch {marker}'),
        'exec': Runs(exec, touch),
        'eval': Runs(eval, touch),
        'open': Runs(open, str(marker), 'w'),
        'getattr of a class': Runs(getattr, look_up, '__globals__'),
        'partial': partial(open, str(marker), 'w'),
    }


@pytest.mark.parametrize('kind', hostile('x'))
@pytest.mark.parametrize('where', ['beside the weights', 'as a weight', 'alone'])
def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path, kind, where):
    marker, path = tmp_path / 'marker', tmp_path / 'w.pth'
    value = hostile(marker)[kind]
    save(
        {'beside the weights': dict(model=WEIGHTS, args=value), 'as a weight': dict(a=value), 'alone': value}[where],
        path,
    )
    with pytest.raises(
        CheckpointError, match=r'which is not on the allow list: reading it could run code|damaged|GLOBAL'
    ):
        load_file(path)
    assert not marker.exists()


def test_the_hostile_files_of_these_tests_would_run(tmp_path):
    """Read without the allow list they do what they say."""
    for kind in ('os.system', 'exec', 'eval', 'open'):
        marker = tmp_path / kind
        torch.load(save(dict(a=hostile(marker)[kind]), tmp_path / 'w.pth'), weights_only=False)
        assert marker.exists()


def test_a_refused_class_is_named_with_the_remedy(tmp_path):
    path = save(dict(model=WEIGHTS, args=Runs(os.system, 'true')), tmp_path / 'w.pth')
    message = rf"holds '{os.system.__module__}\.system', which is not on the allow list.*convert_checkpoint\.py --trust"
    with pytest.raises(CheckpointError, match=message):
        load_file(path)


def test_a_file_that_the_user_trusts_is_read_with_all_it_holds(tmp_path):
    path = save(dict(model=WEIGHTS, r=range(3)), tmp_path / 'w.pth')
    assert load_file(path, weights_only=False)['r'] == range(3)


def test_a_class_that_the_user_allowed_is_read(tmp_path):
    path = save(dict(model=WEIGHTS, r=range(3)), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match="holds '(builtins.)?range', which is not on the allow list"):
        load_file(path)
    with torch.serialization.safe_globals([range]):
        assert load_file(path)['r'] == range(3)


def test_reading_leaves_the_allow_list_of_torch_as_it_was(tmp_path):
    path = save(WEIGHTS, tmp_path / 'w.pth')
    (tmp_path / 'bad.pth').write_bytes(b'bad')
    with torch.serialization.safe_globals([range]):
        before = set(torch.serialization.get_safe_globals())
        load_file(path)
        with pytest.raises(CheckpointError, match='cannot be read'):
            load_file(tmp_path / 'bad.pth')
        assert set(torch.serialization.get_safe_globals()) == before  # torch keeps a set: its list has no order
    getattr_file = save(dict(a=Runs(getattr, HistoryBuffer, 'mean')), tmp_path / 'getattr.pth')
    with pytest.raises(pickle.UnpicklingError, match='getattr'):
        torch.load(getattr_file, weights_only=True)


# From the network.


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of a local server of one file, and the requests that it got."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    content, requests = save(WEIGHTS, tmp_path / 'w.pth').read_bytes(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200 if self.path.endswith('.pth') else 404)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with HTTPServer(('127.0.0.1', 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{http.server_port}', requests
        http.shutdown()


def test_an_address_is_downloaded_once(server):
    address, requests = server
    for _ in range(2):
        assert same(load_file(f'{address}/some/w.pth?download=1&x=.pth'), WEIGHTS)
    assert len(requests) == 1


def test_a_file_that_does_not_match_the_digest_in_its_name_is_refused(server):
    address, _ = server
    for _ in range(2):  # and not kept
        with pytest.raises(
            CheckpointError, match=r"cannot download checkpoint 'http.*w-0123abcd.pth': invalid hash value"
        ):
            load_file(f'{address}/w-0123abcd.pth')


def test_an_address_that_fails_is_named(server):
    address, _ = server
    with pytest.raises(CheckpointError, match=rf"cannot download checkpoint '{address}/w.bin': HTTP Error 404"):
        load_file(f'{address}/w.bin')


# The weights inside.


WRAPPERS = {
    'none': lambda w: w,
    'model': lambda w: dict(model=w, epoch=3),
    'state_dict': lambda w: dict(state_dict=w, meta={}),
    'model before others': lambda w: dict(state_dict=dict(a=torch.ones(1)), model=w, model_ema=dict(a=torch.ones(1))),
    'model is a name': lambda w: dict(model='vssm_tiny', state_dict=w),
    'module.': lambda w: {f'module.{name}': value for name, value in w.items()},
    'copies of mmcv 1': lambda w: dict(
        state_dict={**w, **{f'ema_{name.replace(".", "_")}': torch.zeros_like(value) for name, value in w.items()}}
    ),
    'model.': lambda w: {f'model.{name}': value for name, value in w.items()},
    '_orig_mod.module.': lambda w: dict(model={f'_orig_mod.module.{name}': value for name, value in w.items()}),
    'module.model.': lambda w: dict(model={f'module.model.{name}': value for name, value in w.items()}),
    'module.module.': lambda w: dict(state_dict={f'module.module.{name}': value for name, value in w.items()}),
}


@pytest.mark.parametrize('wrap', WRAPPERS)
def test_weights_are_found_in_their_wrapper(wrap):
    assert same(unwrap(WRAPPERS[wrap](WEIGHTS)), WEIGHTS)


def test_a_prefix_that_not_all_names_have_stays():
    weights = {'module.a': torch.ones(1), 'b': torch.ones(1)}
    assert same(unwrap(weights), weights)


WITHOUT_WEIGHTS = [
    {},
    dict(model={}),
    dict(epoch=3, optimizer={}),
    dict(model=dict(a='text')),
    dict(state_dict=dict(a=torch.ones(1), b=3)),
]


@pytest.mark.parametrize('checkpoint', WITHOUT_WEIGHTS, ids=str)
def test_a_checkpoint_without_weights_is_refused_with_its_entries(checkpoint):
    entries = re.escape(str(sorted(checkpoint)))
    message = rf"no weights in this checkpoint: its entries are {entries}; expected one of \('model', 'state_dict'\)"
    with pytest.raises(CheckpointError, match=message):
        unwrap(checkpoint)
