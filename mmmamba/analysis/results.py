"""Predictions that ``tools/test.py --out`` dumped: reading them without running code, and judging them again."""

import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, init_default_scope

from mmmamba.errors import UserError

# What DumpResults of the three libraries writes: containers, numpy values, tensors.
PLAIN = {
    'builtins': ('set', 'frozenset', 'slice', 'bytearray', 'complex'),
    'collections': ('OrderedDict', 'defaultdict'),
    'numpy': ('ndarray', 'dtype'),
    'numpy.core.multiarray': ('_reconstruct', 'scalar'),
    'numpy._core.multiarray': ('_reconstruct', 'scalar'),
    'numpy._core.numeric': ('_frombuffer',),
    'torch': ('Size',),
    'torch._utils': ('_rebuild_tensor_v2',),
}


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return _load_storage
        if (module, name) == ('_codecs', 'encode'):
            return lambda text, encoding: text.encode('latin1' if encoding == 'latin1' else 'ascii')
        if name in PLAIN.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'{module}.{name}')


def _load_storage(content: bytes) -> object:
    return torch.load(io.BytesIO(content), weights_only=True)


def load_results(path: str | Path) -> list[dict]:
    """Read a file of predictions; nothing in it is executed.

    Args:
        path: ``.pkl`` or ``.pickle``, of mmengine's DumpResults.

    Returns:
        One entry an image.

    Raises:
        UserError: if there is no such file, it is damaged, or it holds more than numbers, arrays and tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f'results {str(path)!r} do not exist; tools/test.py CONFIG CHECKPOINT --out FILE.pkl makes them'
        )
    try:
        with path.open('rb') as file:
            results = _SafeUnpickler(file).load()
    except pickle.UnpicklingError as error:
        raise UserError(
            f'results {str(path)!r} hold {error}, which is no prediction: reading it could run code; make them again '
            'with tools/test.py CONFIG CHECKPOINT --out FILE.pkl'
        ) from None
    except Exception as error:  # a damaged pickle raises whatever its opcodes run into
        raise UserError(f'results {str(path)!r} cannot be read ({error}); they are cut off: make them again') from error
    if not isinstance(results, list) or not all(isinstance(entry, dict) for entry in results):
        raise UserError(f'results {str(path)!r} hold no list of predictions; make them with tools/test.py ... --out')
    return results


def build_test_dataset(cfg: Config) -> BaseDataset:
    """The dataset of a config's ``test_dataloader``."""
    init_default_scope(cfg.default_scope)
    return DATASETS.build(cfg.test_dataloader.dataset)


def read_predictions(cfg: Config, path: str | Path, dataset: BaseDataset) -> list[dict]:
    """Predictions beside their ground truth, as the metrics of the config's library take them.

    Args:
        cfg: the config they were made with.
        path: a ``.pkl``, or of a segmentor the folder of label maps.
        dataset: of ``build_test_dataset``.

    Raises:
        UserError: if they cannot be read, or are not as many as there are images.
    """
    if not (cfg.default_scope == 'mmseg' and Path(path).is_dir()):
        results = load_results(path)
        if len(results) != len(dataset):
            raise UserError(
                f'{str(path)!r} holds {len(results)} predictions, the test data are {len(dataset)} images; '
                'give the config that they were made with'
            )
        return results
    return [_label_map(dataset[i]['data_samples'], Path(path)) for i in range(len(dataset))]


def _label_map(sample, folder: Path) -> dict:
    """What mmseg wrote for an image, beside its ground truth; where it drops a label 0 it writes labels from 1."""
    file = folder / f'{Path(sample.img_path).stem}.png'
    labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise UserError(f'there is no label map {str(file)!r} for {sample.img_path!r}; make them with tools/test.py')
    labels = labels.astype(np.int64) - int(bool(sample.get('reduce_zero_label', False)))
    return {**sample.to_dict(), 'pred_sem_seg': {'data': torch.from_numpy(labels)[None]}}


def evaluate_results(cfg: Config, path: str | Path, evaluator: dict | list | None = None) -> dict[str, float]:
    """The metrics of dumped predictions.

    Args:
        cfg: the config they were made with.
        path: as in ``read_predictions``.
        evaluator: other metrics than those of the config.

    Returns:
        Figures by name.

    Raises:
        UserError: if the predictions cannot be read.
    """
    dataset = build_test_dataset(cfg)
    judge = Evaluator(evaluator or cfg.test_evaluator)
    judge.dataset_meta = dataset.metainfo
    return judge.offline_evaluate(read_predictions(cfg, path, dataset))
