"""mmengine's Runner with safe checkpoints, exact resuming, checks before training, and training on several CPUs."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import is_distributed, master_only
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.runner import Runner as MMEngineRunner
from mmengine.runner.loops import BaseLoop
from torch import nn

from mmmamba.checkpoints import CheckpointError, fit_weights, load_file
from mmmamba.engine.errors import UserError
from mmmamba.engine.fp32_losses import compute_losses_in_fp32
from mmmamba.engine.labels import NO_SAMPLE, check_dataset
from mmmamba.engine.latest_checkpoint import latest_checkpoint
from mmmamba.engine.readable import skip_unreadable
from mmmamba.engine.sync_batch_norm import CPUDistributedDataParallel
from mmmamba.engine.termination import Termination
from mmmamba.engine.unwrap import unwrap_model
from mmmamba.registry import RUNNERS

OWN_HOOKS = ('LabelCheckHook', 'NaNGuardHook', 'PreemptionHook', 'RankMeanLossHook', 'ReseedHook')
REPLACED_HOOKS = dict(checkpoint='CheckpointHook', logger='LoggerHook')
OWN_LOOPS = {'EpochBasedTrainLoop': 'mmmamba.EpochTrainLoop', 'IterBasedTrainLoop': 'mmmamba.IterTrainLoop'}


@RUNNERS.register_module()
class Runner(MMEngineRunner):
    """Arguments and use: those of mmengine's Runner. The hooks of ``OWN_HOOKS`` are always on."""

    termination = Termination()  # of no run yet

    def setup_env(self, env_cfg: dict) -> None:
        """Start the process group with gloo where there is no GPU; mmengine would ask for a CUDA device."""
        if self.distributed and not is_distributed() and get_device() == 'cpu':
            if self._launcher != 'pytorch':
                raise UserError(
                    f'--launcher {self._launcher} needs a GPU on each node, and there is none on this one; on CPUs use '
                    'tools/dist_train.sh or --launcher pytorch'
                )
            dist.init_process_group('gloo')
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to its device, keep its losses in float32 and, in a distributed run, wrap it."""
        compute_losses_in_fp32(model)
        if self.distributed and get_device() == 'cpu':
            defaults = dict(
                type=CPUDistributedDataParallel,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
            model_wrapper_cfg = {**defaults, **(model_wrapper_cfg or {}), 'device_ids': None}
        return super().wrap_model(model_wrapper_cfg, model)

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

    def load_checkpoint(self, filename: str, map_location: str | torch.device = 'cpu') -> dict:
        """Load weights, the authors' or ours, complete or an error, without running code that a file may hold.

        Args:
            filename: path or address.
            map_location: where the tensors go.

        Returns:
            The file's content, its weights under our names in ``state_dict``.

        Raises:
            CheckpointError: if the file cannot be read or does not fit the model.
        """
        model = unwrap_model(self.model)
        checkpoint = load_file(filename, map_location)
        checkpoint['state_dict'], report = fit_weights(model, checkpoint, f'checkpoint {filename!r}')
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)  # EMA swaps the averaged weights in or out
        model.load_state_dict(checkpoint['state_dict'], strict=True)
        self._has_loaded = True
        self.logger.info(f'loaded {filename}: {report}')
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Continue a run; arguments as in mmengine.

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
        super().resume(filename, *args, **kwargs)
        self.train_loop.batches_done = checkpoint['meta'].get('batches_done', 0)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, backend_args: dict | None = None, **kwargs) -> None:
        """Save a checkpoint; on a local disk it has its name only once it is whole. Arguments as in mmengine."""
        if not isinstance(get_file_backend(out_dir, backend_args=backend_args), LocalBackend):
            super().save_checkpoint(out_dir, filename, *args, backend_args=backend_args, **kwargs)
            return
        part = Path(out_dir, f'{filename}.part')
        try:
            super().save_checkpoint(out_dir, part.name, *args, backend_args=backend_args, **kwargs)
            _flush_to_disk(part)  # else a power cut may leave the new name on blocks that were never written
            os.replace(part, Path(out_dir, filename))
        except OSError as error:
            raise UserError(
                f'checkpoint {str(Path(out_dir, filename))!r} cannot be written ({error.strerror}); the older ones are '
                'as they were: free space or name another --work-dir, then --resume; max_keep_ckpts of the '
                'CheckpointHook limits how many are kept'
            ) from error
        finally:
            part.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    with path.open('rb') as file:
        os.fsync(file.fileno())
