"""Checkpoint files, read without running any code they hold.

``torch.load(weights_only=True)`` with an allow list for what OpenMMLab runs and the authors' training scripts store
beside the weights: log histories, numpy values, parsed arguments, yacs configs.
"""

import argparse
import datetime
import json
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmmamba.checkpoints.latest import latest_checkpoint
from mmmamba.errors import UserError

# Entries that hold the weights, in order of preference. The authors load ``model``.
WEIGHT_ENTRIES = ('model', 'state_dict')
# Their moving average, where one stands beside them. mmengine stores the average as ``state_dict`` itself.
AVERAGE_ENTRIES = ('model_ema', 'state_dict_ema')
# What models are wrapped in: DataParallel, torch.compile, the classes of a model hub (MambaVision's there).
WRAPPERS = ('module.', '_orig_mod.', 'model.')
SAFETENSORS_DTYPES = {
    'F64': torch.float64, 'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16, 'I64': torch.int64,
    'I32': torch.int32, 'I16': torch.int16, 'I8': torch.int8, 'U8': torch.uint8, 'BOOL': torch.bool,
}  # fmt: skip


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or does not fit the model; the message says what to do."""


def load_file(path: str | Path, map_location: str | torch.device = 'cpu', *, weights_only: bool = True) -> dict:
    """Read a checkpoint file; nothing in it is executed, unless that is asked for.

    Args:
        path: a ``torch.save`` or ``.safetensors`` file, the http(s) address of one, which is downloaded once into
            torch.hub's cache, or the work directory of a run, whose latest checkpoint is taken.
        map_location: where the tensors go, as for ``torch.load``.
        weights_only: False reads a pickle with whatever objects it holds, which runs their code: only of a file that
            you trust.

    Returns:
        What the file holds. Log histories come back as mmengine's ``HistoryBuffer``, yacs configs as plain dicts.

    Raises:
        CheckpointError: if there is no such file, it is no checkpoint, or it holds objects outside the allow list.
    """
    path = _download(str(path)) if str(path).startswith(('http://', 'https://')) else Path(path).expanduser()
    if path.is_dir():
        path = _latest(path)
    if not path.is_file():
        raise CheckpointError(
            f'checkpoint {str(path)!r} does not exist; give the path or http(s) address of a file, or a work directory'
        )
    checkpoint = (
        _read_safetensors(path, map_location)
        if path.suffix == '.safetensors'
        else read_torch(path, map_location, weights_only=weights_only)
    )
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f'checkpoint {str(path)!r} holds a {type(checkpoint).__name__}, not a dict of weights')
    return dict(checkpoint)


def unwrap(checkpoint: Mapping, *, ema: bool = False) -> dict[str, Tensor]:
    """The weights of a checkpoint: its entry ``model``, else ``state_dict``, else itself; without ``WRAPPERS`` before.

    The copies that mmcv 1 keeps of averaged weights, ``ema_backbone_layers_0_...``, are left out.

    Args:
        checkpoint: what ``load_file`` returns.
        ema: take the moving average that some authors' files hold beside the weights, ``model_ema`` or
            ``state_dict_ema``.

    Returns:
        Names and tensors.

    Raises:
        CheckpointError: if there are no weights in it, or no moving average where one is asked for.
    """
    entries = AVERAGE_ENTRIES if ema else WEIGHT_ENTRIES
    entry = next((name for name in entries if isinstance(checkpoint.get(name), Mapping)), None)
    if ema and entry is None:
        raise CheckpointError(
            f'no moving average in this checkpoint: its entries are {sorted(map(str, checkpoint))[:8]}, none of them '
            f'{" or ".join(AVERAGE_ENTRIES)}; load it without ema'
        )
    weights = checkpoint if entry is None else checkpoint[entry]
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        average = [name for name in AVERAGE_ENTRIES if name in checkpoint]
        hint = f'; {average[0]!r} is a moving average, which ema=True takes' if average else ''
        raise CheckpointError(
            f'no weights in this checkpoint: its entries are {sorted(map(str, checkpoint))[:8]}; '
            f'expected one of {WEIGHT_ENTRIES} or names with tensors{hint}'
        )
    while prefix := next((p for p in WRAPPERS if all(name.startswith(p) for name in weights)), None):  # some are two
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    # PlainMamba's kind of file: when mmcv 1 saves, the average is under the name itself, what was averaged beside it.
    copies = {f'ema_{name.replace(".", "_")}' for name in weights}
    return {name: value for name, value in weights.items() if name not in copies}


def _latest(work_dir: Path) -> Path:
    latest = latest_checkpoint(work_dir)
    if latest is None:
        raise CheckpointError(f'there is no checkpoint epoch_N.pth or iter_N.pth in the folder {str(work_dir)!r}')
    return latest


def _download(url: str) -> Path:
    name = Path(urlparse(url).path).name
    target = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = re.search(r'-([0-9a-f]{8,})\.', name)  # 'resnet50-0676ba61.pth' carries the start of its sha256
        try:
            torch.hub.download_url_to_file(url, str(target), hash_prefix=digest.group(1) if digest else None)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f'cannot download checkpoint {url!r}: {error}') from error
    return target


def _read_safetensors(path: Path, map_location: str | torch.device) -> dict[str, Tensor]:
    """Eight bytes with the length of a JSON header, the header (name to dtype, shape and place), the values."""
    content = bytearray(path.read_bytes())
    try:
        start = 8 + int.from_bytes(content[:8], 'little')
        header = json.loads(content[8:start])
        header.pop('__metadata__', None)
        weights = {name: _tensor_at(content, start, **entry) for name, entry in header.items()}
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f'checkpoint {str(path)!r} cannot be read as safetensors ({_first_line(error)}); '
            'it is cut off or of another format: fetch it again'
        ) from error
    return {name: tensor.to(map_location) for name, tensor in weights.items()}


def _tensor_at(content: bytearray, start: int, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    first, last = data_offsets
    if not 0 <= first <= last <= len(content) - start:
        raise ValueError(f'values {first} to {last} of {len(content) - start}')
    kind = SAFETENSORS_DTYPES[dtype]
    if first == last:  # frombuffer takes no empty buffer
        return torch.empty(shape, dtype=kind)
    count = (last - first) // kind.itemsize
    return torch.frombuffer(content, dtype=kind, count=count, offset=start + first).clone().view(shape)


def read_torch(path: Path | BinaryIO, map_location: str | torch.device | None, *, weights_only: bool = True) -> object:
    """What ``torch.save`` wrote; nothing in it is executed, unless that is asked for.

    Args:
        path: the file, or what reads like one.
        map_location: where the tensors go, as for ``torch.load``.
        weights_only: as in :func:`load_file`.

    Raises:
        CheckpointError: if it is damaged, no such file, or holds objects outside the allow list.
    """
    try:
        with _allow_list():
            return torch.load(path, map_location=map_location, weights_only=weights_only)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from None
    except Exception as error:  # a damaged pickle raises whatever its opcodes run into
        raise CheckpointError(
            f'checkpoint {str(path)!r} cannot be read ({_first_line(error)}); '
            'it is cut off or not a checkpoint: fetch it again'
        ) from error


def _refusal(path: Path | BinaryIO, reason: str) -> str:
    refused = re.search(r'GLOBAL (\S+) ', reason)
    if refused is None:
        return (
            f'checkpoint {str(path)!r} cannot be read as plain weights ({_first_line(reason.split("error: ")[-1])}); '
            'it is damaged, not a checkpoint, or holds objects that would run code'
        )
    return (
        f'checkpoint {str(path)!r} holds {refused[1]!r}, which is not on the allow list: reading it could run code; '
        'if you trust the file, convert it with tools/model_converters/convert_checkpoint.py --trust, or allow that '
        'class: torch.serialization.add_safe_globals'
    )


def _first_line(error: object) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


# The allow list. Stand-ins take the place of callables that are safe only with certain arguments, or that live under a
# name this machine does not have; the unpickler looks them up by ``__module__`` and ``__qualname__``.


def _at(address: str) -> Callable:
    """Decorator: let a stand-in answer to the dotted name ``address`` inside a checkpoint."""

    def rename(stand_in):
        stand_in.__module__, _, stand_in.__qualname__ = address.rpartition('.')
        stand_in.__name__ = stand_in.__qualname__  # torch 2.4 looks here
        return stand_in

    return rename


@_at('builtins.getattr')
def _history_statistic(owner: object, name: str) -> Callable:
    """HistoryBuffer stores its statistics as ``getattr(HistoryBuffer, 'mean')``; any other look-up is refused."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'GLOBAL getattr({owner!r}, {name!r}) was not allowed')
    return getattr(owner, name)


@_at('_codecs.encode')
def _latin1(text: str, encoding: str) -> bytes:
    """Numpy stores bytes as latin1 text; torch >= 2.5 allows it by itself."""
    if not isinstance(text, str) or encoding != 'latin1':
        raise pickle.UnpicklingError(f'GLOBAL _codecs.encode({encoding!r}) was not allowed')
    return text.encode('latin1')


@_at('yacs.config.CfgNode')
class _YacsConfig:
    """The config inside the authors' files (VMamba and others follow Swin): read as a plain dict, without yacs."""

    def __new__(cls) -> OrderedDict:  # type: ignore[misc] # the unpickler fills an OrderedDict, never an unknown class
        return OrderedDict()


def _numpy_callables() -> list[Callable]:
    """Numpy's two rebuilding functions under the module names of numpy 1 and 2."""
    core = np._core if hasattr(np, '_core') else np.core
    stand_ins = []
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        for name in ('_reconstruct', 'scalar'):
            rebuild = getattr(core.multiarray, name)
            stand_ins.append(_at(f'{module}.{name}')(lambda *args, rebuild=rebuild: rebuild(*args)))
    return stand_ins


ALLOWED = [
    HistoryBuffer,
    _history_statistic,
    _latin1,
    _YacsConfig,
    argparse.Namespace,
    datetime.datetime,
    datetime.timedelta,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?SU'},
    *_numpy_callables(),
]


@contextmanager
def _allow_list() -> Iterator[None]:
    """``torch.serialization.safe_globals`` (torch >= 2.5) with what torch 2.4 offers."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(ALLOWED)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
