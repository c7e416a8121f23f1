"""A trained model that teaches the one in training."""

from mmengine.hooks import Hook
from torch import nn

from mmmamba.engine.unwrap import unwrap_model
from mmmamba.errors import UserError
from mmmamba.registry import HOOKS, MODELS


@HOOKS.register_module()
class TeacherHook(Hook):
    """Build a trained classifier when training begins and let a ``mmmamba.TaughtClassifier`` learn from it.

    The teacher is no part of the model: it is not saved, and a test does not need it.

    Args:
        teacher: config of a classifier with the model's classes, and of where its weights are, such as
            ``dict(type='mmpretrain.TimmClassifier', model_name='regnety_160.deit_in1k', pretrained=True)``.
    """

    def __init__(self, teacher: dict) -> None:
        self.teacher = teacher

    def before_train(self, runner) -> None:
        """Build the teacher, on the device of the model.

        Raises:
            UserError: if the library of the teacher is not installed, or its weights are not there.
        """
        try:
            teacher = MODELS.build(self.teacher)
            teacher.init_weights()
        except (ImportError, OSError, UserError) as error:
            raise UserError(f'the teacher cannot be built of {dict(self.teacher)}: {error}') from error
        model = pupil(runner)
        model.learn_from(teacher.to(next(model.parameters()).device))


def pupil(runner) -> nn.Module:
    """The model of a runner, one that can learn from a teacher.

    Raises:
        UserError: if it cannot.
    """
    model = unwrap_model(runner.model)
    if not hasattr(model, 'learn_from'):
        raise UserError(
            f"a {type(model).__name__} cannot learn from a teacher; set model.type to 'mmmamba.TaughtClassifier', and "
            'model.head to one that does, or take the hook of the teacher out of custom_hooks'
        )
    return model
