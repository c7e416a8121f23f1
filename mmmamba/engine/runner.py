"""mmengine's Runner with safe checkpoints, exact resuming, checks before training, and training on several CPUs."""

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import is_distributed, master_only
from mmengine.runner import Runner as MMEngineRunner
from torch import nn

from mmmamba.checkpoints import fit_weights, load_file
from mmmamba.engine.fp32_losses import compute_losses_in_fp32
from mmmamba.engine.safe_run import SafeRun, state_of_a_run, written_aside
from mmmamba.engine.sync_batch_norm import CPUDistributedDataParallel
from mmmamba.engine.unwrap import unwrap_model
from mmmamba.errors import UserError
from mmmamba.registry import RUNNERS


@RUNNERS.register_module()
class Runner(SafeRun, MMEngineRunner):
    """Arguments and use: those of mmengine's Runner."""

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

    def load_checkpoint(self, filename: str, map_location: str | torch.device = 'cpu') -> dict:
        """Load weights, the authors' or ours, complete or an error, without running code that a file may hold.

        With ``load_ema = True`` in the config, of a file that is not resumed, the moving average beside them.

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
        ema = self.cfg.get('load_ema', False) and not self._resume
        checkpoint['state_dict'], report = fit_weights(model, checkpoint, f'checkpoint {filename!r}', ema=ema)
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
        meta = state_of_a_run(filename)['meta']
        super().resume(filename, *args, **kwargs)
        self.train_loop.batches_done = meta.get('batches_done', 0)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, backend_args: dict | None = None, **kwargs) -> None:
        """Save a checkpoint; on a local disk it has its name only once it is whole. Arguments as in mmengine."""
        with written_aside(out_dir, filename, backend_args) as name:
            super().save_checkpoint(out_dir, name, *args, backend_args=backend_args, **kwargs)
