"""mmengine's CheckpointHook, in another order: the new checkpoint is there before the oldest goes."""

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook

from mmmamba.engine.full_disk import going_on_without
from mmmamba.errors import UserError
from mmmamba.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """Save checkpoints; killed at any moment, at least one whole one is left. Arguments: those of mmengine's hook.

    One that cannot be written, for want of space, is an error in the log; the run goes on and
    tries again at the next interval.
    """

    _error = None

    def after_train(self, runner) -> None:
        """Publish the checkpoint.

        Raises:
            UserError: if the last one could not be written.
        """
        if self._error is not None:
            raise self._error
        super().after_train(runner)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated = None
        if self.max_keep_ckpts > 0:
            kept = self.keep_ckpt_ids
            if len(kept) == self.max_keep_ckpts and kept[-1] != step:
                outdated = kept.popleft()  # mmengine would delete its file before it saves
        try:
            # What may not find space after the checkpoint is last_checkpoint, which nothing here needs.
            with going_on_without(self.out_dir, runner.logger):
                super()._save_checkpoint_with_step(runner, step, meta)
            self._error = None
        except UserError as error:
            self._error = error
            runner.logger.error(f'{error}. The run goes on and tries again at the next interval')
            if self.max_keep_ckpts > 0:
                kept.pop()
                if outdated is not None:
                    kept.appendleft(outdated)
            return
        if outdated is not None and is_main_process():
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
