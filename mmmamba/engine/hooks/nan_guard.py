"""Where a NaN comes from."""

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from torch import nn

from mmmamba.engine.errors import UserError
from mmmamba.engine.unwrap import unwrap_model
from mmmamba.registry import HOOKS


@HOOKS.register_module()
class NaNGuardHook(Hook):
    """Stop at the first loss that is not finite, before it reaches the weights, and name the layer that made it."""

    def before_train(self, runner) -> None:
        """Watch the losses that the model returns."""
        model = unwrap_model(runner.model)
        self._runner = runner
        self._handle = model.register_forward_hook(self._check, with_kwargs=True)

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
            return
        self._handle.remove()
        raise UserError(
            f'iteration {self._runner.iter + 1}: {", ".join(bad) or "a loss on another rank"} is not finite; first '
            f'seen in {_first_bad_layer(model, args, kwargs)}; the weights are still those before it: lower the '
            'learning rate, clip gradients (optim_wrapper.clip_grad), train in bf16 or fp32 instead of '
            'fp16, check the data'
        )


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
