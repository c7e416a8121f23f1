"""mmengine's Runner with safe checkpoints, exact resuming, checks before training, and training on several CPUs."""

import os
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
from mmmamba.engine.labels import check_dataset
from mmmamba.engine.latest_checkpoint import latest_checkpoint
from mmmamba.engine.sync_batch_norm import CPUDistributedDataParallel
from mmmamba.engine.unwrap import unwrap_model
from mmmamba.registry import RUNNERS

OWN_HOOKS = ('LabelCheckHook', 'NaNGuardHook', 'RankMeanLossHook', 'ReseedHook')


@RUNNERS.register_module()
class Runner(MMEngineRunner):
    """Arguments and use: those of mmengine's Runner. The hooks of ``OWN_HOOKS`` are always on."""

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
        """Register mmengine's default hooks, with our CheckpointHook in place of its own, and ``OWN_HOOKS``."""
        hooks = dict(hooks or {})
        checkpoint = hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
        if isinstance(checkpoint, dict) and checkpoint['type'] == 'CheckpointHook':
            hooks['checkpoint'] = {**checkpoint, 'type': 'mmmamba.CheckpointHook'}
        super().register_default_hooks(hooks)
        for name in OWN_HOOKS:
            self.register_hook(dict(type=f'mmmamba.{name}'))

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop and compare its dataset with the model."""
        return self._checked(super().build_train_loop(loop), 'train_dataloader')

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop and compare its dataset with the model."""
        return self._checked(super().build_val_loop(loop), 'val_dataloader')

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop and compare its dataset with the model."""
        return self._checked(super().build_test_loop(loop), 'test_dataloader')

    def _checked(self, loop: BaseLoop, name: str) -> BaseLoop:
        check_dataset(loop.dataloader.dataset, self.model, name)
        return loop

    def load_or_resume(self) -> None:
        """Load or resume the checkpoint that was asked for; with none named, the latest in the work directory."""
        if self._resume and self._load_from is None and not self._has_loaded:
            latest = latest_checkpoint(self.work_dir)
            if latest is None:
                self.logger.warning(f'--resume: no checkpoint in {self.work_dir} yet, training starts at the beginning')
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
        absent = sorted({'meta', 'message_hub', 'optimizer'} - set(load_file(filename)))
        if absent:
            raise CheckpointError(
                f'checkpoint {filename!r} holds no {", ".join(absent)}: it is not a checkpoint of a run and cannot be '
                'resumed; to start from its weights, use --cfg-options load_from=PATH without --resume'
            )
        super().resume(filename, *args, **kwargs)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, backend_args: dict | None = None, **kwargs) -> None:
        """Save a checkpoint; on a local disk it has its name only once it is whole. Arguments as in mmengine."""
        if not isinstance(get_file_backend(out_dir, backend_args=backend_args), LocalBackend):
            super().save_checkpoint(out_dir, filename, *args, backend_args=backend_args, **kwargs)
            return
        part = Path(out_dir, f'{filename}.part')
        try:
            super().save_checkpoint(out_dir, part.name, *args, backend_args=backend_args, **kwargs)
            os.replace(part, Path(out_dir, filename))
        finally:
            part.unlink(missing_ok=True)
