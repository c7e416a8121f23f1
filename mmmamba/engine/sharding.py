"""Models sharded over the processes of a run, by mmengine's strategies: ``configs/_base_/strategies/``."""

import importlib.util
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from mmengine._strategy import BaseStrategy
from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine.device import get_device
from mmengine.hooks import EMAHook
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import FlexibleRunner as MMEngineFlexibleRunner
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from mmmamba.checkpoints import fit_weights, load_file
from mmmamba.engine.fp32_losses import compute_losses_in_fp32
from mmmamba.engine.safe_run import SafeRun, state_of_a_run, written_aside
from mmmamba.errors import UserError
from mmmamba.ops.backend import use_backend
from mmmamba.registry import RUNNERS, STRATEGIES


@STRATEGIES.register_module()
class FSDPStrategy(MMEngineFSDPStrategy):
    """mmengine's FSDPStrategy with a unit for each block of the backbone, whole checkpoints, and CPUs.

    Args:
        model_wrapper: arguments of mmengine's ``MMFullyShardedDataParallel``.
        state_dict_cfg: ``'full'``: one file that any run can load, as those of ``Runner``.
        **options: those of mmengine's strategy.
    """

    def __init__(self, *, model_wrapper: dict | None = None, state_dict_cfg: str | dict = 'full', **options) -> None:
        # The parameters keep their names, which optimizer settings and checkpoints go by.
        model_wrapper = dict(dict(type='MMFullyShardedDataParallel', use_orig_params=True), **(model_wrapper or {}))
        super().__init__(model_wrapper=model_wrapper, state_dict_cfg=state_dict_cfg, **options)

    def _setup_distributed(self, launcher: str = 'pytorch', backend: str = 'nccl', **options) -> None:
        if get_device() == 'cpu':  # mmengine would ask for a CUDA device
            dist.init_process_group('gloo')
        else:
            super()._setup_distributed(launcher, backend, **options)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if get_device() == 'cpu':
            self.model_wrapper.setdefault('device_id', torch.device('cpu'))
        if hasattr(model.backbone, 'blocks'):
            policy = ModuleWrapPolicy({type(block) for block in model.backbone.blocks()})
            self.model_wrapper.setdefault('auto_wrap_policy', policy)
        return super()._wrap_model(model)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the whole state of the optimizer. mmengine passes PyTorch's arguments in an order that it has left."""
        state = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(state)

    def build_optim_wrapper(self, optim_wrapper: Mapping, model: nn.Module | None = None) -> BaseOptimWrapper:
        """As in mmengine; gradients are clipped by their norm over all shards, not by that of one."""
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if wrapper.clip_grad_kwargs:
            wrapper.clip_func = lambda params, max_norm, norm_type=2.0: model.clip_grad_norm_(max_norm, norm_type)
        return wrapper


def _resizable_weights() -> AbstractContextManager:
    """On CPUs, keep the weights from numba: numpy pins the storage it sees, and FSDP frees that of gathered weights."""
    return use_backend('torch') if get_device() == 'cpu' else nullcontext()


@RUNNERS.register_module()
class FlexibleRunner(SafeRun, MMEngineFlexibleRunner):
    """mmengine's FlexibleRunner, which a config with a ``strategy`` names: ``runner_type='mmmamba.FlexibleRunner'``."""

    def build_strategy(self, strategy: BaseStrategy | dict | None = None, launcher: str = 'none', **options):
        """Build the strategy; arguments as in mmengine.

        Raises:
            UserError: if it needs a launcher or a package that is not there.
        """
        kind = strategy.get('type') if isinstance(strategy, dict) else type(strategy).__name__
        if kind == 'DeepSpeedStrategy' and importlib.util.find_spec('deepspeed') is None:
            raise UserError(
                "strategy 'DeepSpeedStrategy' needs DeepSpeed, which is not installed: pip install deepspeed; or shard "
                'with configs/_base_/strategies/fsdp.py, which needs nothing'
            )
        if launcher == 'none':
            raise UserError(
                f'strategy {kind!r} shards a model over processes; start them: tools/dist_train.sh CONFIG PROCESSES'
            )
        options['env_cfg'] = options.get('env_cfg') or {}  # a config may say nothing
        return super().build_strategy(strategy, launcher=launcher, **options)

    def train(self) -> nn.Module:
        """Train, from the weights in ``load_from`` where it names some.

        Raises:
            UserError: if a hook averages the weights, of which a process has only a shard.
        """
        if any(isinstance(hook, EMAHook) for hook in self.hooks):
            raise UserError('EMAHook averages whole weights, and a strategy shards them: take it out of custom_hooks')
        self._build_model(load=not self._resume)
        with _resizable_weights():
            return super().train()

    def test(self) -> dict:
        """Evaluate the weights in ``load_from``."""
        self._build_model(load=True)
        with _resizable_weights():
            return super().test()

    def _build_model(self, load: bool) -> None:
        """Before it is sharded, so that classes and weights can be compared with those of data and file."""
        self.model = self.strategy.build_model(self.model)
        compute_losses_in_fp32(self.model)
        if load and self._load_from is not None:
            self.load_checkpoint(self._load_from)
            self.model._is_init = True  # mmengine would initialize it over the weights

    def load_checkpoint(self, filename: str) -> None:
        """Load weights, the authors' or ours, complete or an error; with ``load_ema = True``, their moving average.

        Args:
            filename: path or address.

        Raises:
            CheckpointError: if the file cannot be read or does not fit the model.
        """
        ema = self.cfg.get('load_ema', False)
        weights, report = fit_weights(self.model, load_file(filename), f'checkpoint {filename!r}', ema=ema)
        self.model.load_state_dict(weights, strict=True)
        self._has_loaded = True
        self.logger.info(f'loaded {filename}: {report}')

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Continue a run; arguments as in mmengine.

        Raises:
            CheckpointError: if the file holds weights but no state of a run.
        """
        meta = state_of_a_run(filename)['meta'] if isinstance(self.strategy, FSDPStrategy) else {}
        super().resume(filename, *args, **kwargs)
        self.train_loop.batches_done = meta.get('batches_done', 0)

    def save_checkpoint(self, out_dir: str, filename: str, *args, backend_args: dict | None = None, **kwargs) -> None:
        """Save a checkpoint, for which all ranks give their shards. Arguments as in mmengine."""
        if not isinstance(self.strategy, FSDPStrategy):  # DeepSpeed writes a folder
            super().save_checkpoint(out_dir, filename, *args, backend_args=backend_args, **kwargs)
            return
        with written_aside(out_dir, filename, backend_args) as name:
            super().save_checkpoint(out_dir, name, *args, backend_args=backend_args, **kwargs)
