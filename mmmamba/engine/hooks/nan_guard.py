"""Where a NaN comes from."""

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from torch import nn

from mmmamba.engine.unwrap import unwrap_model
from mmmamba.errors import UserError
from mmmamba.registry import HOOKS


@HOOKS.register_module()
class NaNGuardHook(Hook):
    """Catch a loss that is not finite before it reaches the weights; name its iteration, samples and layer.

    Under several ranks, one with such a loss is enough for all of them, and the report is of that one.

    Args:
        action: ``'stop'`` the run, or ``'skip'`` the batch, which leaves weights and optimizer as they are.
        max_skips: batches left out in a row after which the run stops all the same.

    Raises:
        ValueError: if the action is another one.
    """

    def __init__(self, action: str = 'stop', max_skips: int = 10) -> None:
        if action not in ('stop', 'skip'):
            raise ValueError(f"NaNGuardHook: action {action!r} is not one of 'stop', 'skip'")
        self.action = action
        self.max_skips = max_skips
        self._skips = 0
        self._buffers = []

    def before_train(self, runner) -> None:
        """Watch the losses that the model returns."""
        model = unwrap_model(runner.model)
        self._runner = runner
        self._handle = model.register_forward_hook(self._check, with_kwargs=True)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | tuple | list | None = None) -> None:
        """Note the statistics of batch norms, which the forward pass of a batch to skip has spoilt."""
        if self.action == 'skip':
            self._buffers = [buffer.clone() for buffer in unwrap_model(runner.model).buffers()]

    def after_train(self, runner) -> None:
        """Stop watching."""
        self._handle.remove()

    def _check(self, model: nn.Module, args: tuple, kwargs: dict, losses: object) -> None:
        if not (model.training and isinstance(losses, dict)):
            return
        bad = {name: value for name, value in losses.items() if 'loss' in name and not _is_finite(value)}
        # All ranks stop together: one alone in the second forward pass would wait for the others in a collective.
        anywhere = torch.tensor(float(bool(bad)), device=next(model.parameters()).device)
        all_reduce(anywhere, 'max')
        if not anywhere:
            self._skips = 0
            return
        self._handle.remove()
        self._skips += 1
        found = (
            f'iteration {self._runner.iter + 1}: {", ".join(bad)} is not finite; first seen in '
            f'{_first_bad_layer(model, args, kwargs)}; samples: {_samples(args, kwargs)}'
        )
        report = next(filter(None, all_gather_object(found if bad else None)))  # of the first rank that has one
        if self.action == 'skip' and self._skips <= self.max_skips:
            self._runner.logger.warning(f'{report}; the batch is left out')
            self._handle = model.register_forward_hook(self._check, with_kwargs=True)
            for buffer, before in zip(model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
            raise SkippedBatchError
        raise UserError(
            f'{report}; the weights are still those before it: lower the '
            'learning rate, clip gradients (optim_wrapper.clip_grad), train in bf16 or fp32 instead of '
            'fp16, check the data'
        )


class SkippedBatchError(Exception):
    """For the training loop: the batch has no loss to step on."""


def _samples(args: tuple, kwargs: dict) -> str:
    candidates = [*args, *kwargs.values()]
    samples = next((each for each in candidates if isinstance(each, (list, tuple)) and hasattr(each[0], 'get')), [])
    return ', '.join(str(sample.get('img_path', 'unnamed')) for sample in samples) or 'unnamed'


def _is_finite(value: object) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_finite, value))
    return True


def _first_bad_layer(model: nn.Module, args: tuple, kwargs: dict) -> str:
    """Run the batch again and name the first module whose output is not finite while its input is."""
    bad = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if bad:
        return f'the weights of {bad[0]}, not finite since an earlier step'
    if not _is_finite((args, kwargs)):
        return 'the input images'
    found = []

    def watch(name):
        def hook(module, inputs, output):
            if not found and not _is_finite(output):
                found.append(f'{name} ({type(module).__name__})')

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else 'the loss itself: every layer has a finite output'
