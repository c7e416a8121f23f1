"""mmengine's LoggerHook, which a full disk does not stop."""

from mmengine.hooks import LoggerHook as MMEngineLoggerHook

from mmmamba.engine.full_disk import going_on_without
from mmmamba.registry import HOOKS


@HOOKS.register_module()
class LoggerHook(MMEngineLoggerHook):
    """Log losses and metrics; what finds no space on the disk is reported and left out. Arguments as in mmengine."""

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        """Log one iteration. Arguments as in mmengine."""
        with going_on_without(runner.log_dir, runner.logger):
            super().after_train_iter(runner, *args, **kwargs)

    def after_val_epoch(self, runner, *args, **kwargs) -> None:
        """Log the metrics. Arguments as in mmengine."""
        with going_on_without(runner.log_dir, runner.logger):
            super().after_val_epoch(runner, *args, **kwargs)
