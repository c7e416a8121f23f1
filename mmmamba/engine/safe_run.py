"""What our runners do alike: hooks and loops of ours, checks before training, SIGTERM, checkpoints written aside."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.runner.loops import BaseLoop
from torch import nn

from mmmamba.checkpoints import CheckpointError, latest_checkpoint, load_file
from mmmamba.engine.labels import NO_SAMPLE, check_dataset
from mmmamba.engine.readable import skip_unreadable
from mmmamba.engine.termination import Termination
from mmmamba.errors import UserError

OWN_HOOKS = ('LabelCheckHook', 'NaNGuardHook', 'PreemptionHook', 'RankMeanLossHook', 'ReseedHook')
REPLACED_HOOKS = dict(checkpoint='CheckpointHook', logger='LoggerHook')
OWN_LOOPS = {'EpochBasedTrainLoop': 'mmmamba.EpochTrainLoop', 'IterBasedTrainLoop': 'mmmamba.IterTrainLoop'}


class SafeRun:
    """Stands before mmengine's Runner or FlexibleRunner. The hooks of ``OWN_HOOKS`` are always on."""

    termination = Termination()  # of no run yet

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Register mmengine's default hooks, two of them replaced by ours, and ``OWN_HOOKS``."""
        defaults = dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=dict(type='LoggerHook'))
        hooks = {**defaults, **(hooks or {})}
        for name, kind in REPLACED_HOOKS.items():
            if isinstance(hooks[name], dict) and hooks[name]['type'] == kind:
                hooks[name] = {**hooks[name], 'type': f'mmmamba.{kind}'}
        super().register_default_hooks(hooks)
        configured = [hook.get('type') for hook in self.cfg.get('custom_hooks') or [] if isinstance(hook, dict)]
        for name in OWN_HOOKS:
            if f'mmmamba.{name}' not in configured:  # with arguments of its own
                self.register_hook(dict(type=f'mmmamba.{name}'))

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop, ours in place of mmengine's, and compare its dataset with the model."""
        if isinstance(loop, dict):
            loop = dict(loop)
            if 'by_epoch' in loop and 'type' not in loop:
                loop['type'] = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
            loop['type'] = OWN_LOOPS.get(loop['type'], loop['type'])
        return self._checked(super().build_train_loop, loop, 'train_dataloader')

    def train(self) -> nn.Module:
        """Train; a SIGTERM ends it with a checkpoint."""
        with Termination() as self.termination:
            return super().train()

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop and compare its dataset with the model."""
        return self._checked(super().build_val_loop, loop, 'val_dataloader')

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop and compare its dataset with the model."""
        return self._checked(super().build_test_loop, loop, 'test_dataloader')

    def _checked(self, build: Callable, loop: BaseLoop | dict, name: str) -> BaseLoop:
        try:
            loop = build(loop)
        except ValueError as error:
            if 'at least one array to concatenate' not in str(error):  # mmengine packs the samples of a dataset
                raise
            raise UserError(NO_SAMPLE.format(name)) from error
        check_dataset(loop.dataloader.dataset, self.model, name)
        skip_unreadable(loop.dataloader.dataset)
        return loop

    def load_or_resume(self) -> None:
        """Load or resume the checkpoint that was asked for; with none named, the latest in the work directory."""
        if self._resume and self._load_from is None and not self._has_loaded:
            latest = latest_checkpoint(self.work_dir)
            if latest is None:
                self.logger.warning(
                    f'--resume: no whole checkpoint in {self.work_dir} yet, training starts at the beginning'
                )
                return
            self._load_from = str(latest)
        super().load_or_resume()


def state_of_a_run(filename: str) -> dict:
    """Read a checkpoint that is to be resumed.

    Raises:
        CheckpointError: if the file holds weights but no state of a run.
    """
    checkpoint = load_file(filename)
    absent = sorted({'meta', 'message_hub', 'optimizer'} - set(checkpoint))
    if absent:
        raise CheckpointError(
            f'checkpoint {filename!r} holds no {", ".join(absent)}: it is not a checkpoint of a run and cannot be '
            'resumed; to start from its weights, use --cfg-options load_from=PATH without --resume'
        )
    return checkpoint


@contextmanager
def written_aside(out_dir: str, filename: str, backend_args: dict | None) -> Iterator[str]:
    """``with written_aside(...) as name:`` save a checkpoint under that name; it has its own only once it is whole.

    Args:
        out_dir: where it goes; elsewhere than on a disk it is written as it is.
        filename: its name.
        backend_args: mmengine's, of the file system.

    Raises:
        UserError: if it cannot be written.
    """
    if not isinstance(get_file_backend(out_dir, backend_args=backend_args), LocalBackend):
        yield filename
        return
    whole, part = Path(out_dir, filename), Path(out_dir, f'{filename}.part')
    try:
        yield part.name
        if is_main_process():
            _flush_to_disk(part)  # else a power cut may leave the new name on blocks that were never written
            os.replace(part, whole)
    except OSError as error:
        raise UserError(
            f'checkpoint {str(whole)!r} cannot be written ({error.strerror}); the older ones are as they were: free '
            'space or name another --work-dir, then --resume; max_keep_ckpts of the CheckpointHook limits how many are '
            'kept'
        ) from error
    finally:
        if is_main_process():
            part.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    with path.open('rb') as file:
        os.fsync(file.fileno())
