"""The initializer that a config names to start a backbone from published weights."""

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import Tensor, nn

from mmmamba.checkpoints.families import backbone_of
from mmmamba.checkpoints.files import CheckpointError, load_file, unwrap
from mmmamba.checkpoints.key_map import shortened
from mmmamba.checkpoints.loading import fit_weights
from mmmamba.models.backbones.base import Backbone
from mmmamba.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class Pretrained:
    """Load a checkpoint, the authors' or ours, strictly, and log what was loaded.

    ``init_cfg=dict(type='mmmamba.Pretrained', checkpoint='vssm1_tiny.pth')``. Unlike mmengine's ``Pretrained`` it knows
    the authors' layouts, and tensors that do not fit are an error. In a list of initializers it comes last.
    mmengine's own, ``type='Pretrained'``, is this one for our backbones and the models around them (``compat.py``).

    Args:
        checkpoint: path or http(s) address.
        prefix: take the tensors whose names start so, without it. A model's ``backbone.`` needs no mention.
        ema: take the moving average that some files hold beside the weights.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None, ema: bool = False):
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.ema = ema

    def __call__(self, module: nn.Module) -> None:
        """Initialize ``module``, a backbone or a whole model.

        Args:
            module: whose ``init_cfg`` names this initializer.

        Raises:
            CheckpointError: if the checkpoint cannot be read or does not fit.
        """
        weights = unwrap(load_file(self.checkpoint), ema=self.ema)
        if self.prefix:
            weights = _under_prefix(weights, self.prefix, self.checkpoint)
        weights, report = fit_weights(module, weights, f'checkpoint {self.checkpoint!r}')
        module.load_state_dict(weights, strict=True)
        print_log(f'{type(module).__name__} from {self.checkpoint}: {report}', logger='current')
        for child in module.modules():  # mmengine initializes the children after this; they must keep what was loaded
            if child is not module and hasattr(child, 'init_weights'):
                child.is_init = True  # type: ignore[assignment] # mmengine's flag
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'mmmamba.Pretrained: {self.checkpoint}')


def is_around_ours(module: nn.Module) -> bool:
    """Whether a module is a backbone of ours, an adapter around one, or a model around either."""
    return isinstance(backbone_of(backbone_of(module)), Backbone)


def _under_prefix(weights: dict[str, Tensor], prefix: str, path: str) -> dict[str, Tensor]:
    found = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    if not found:
        raise CheckpointError(
            f'checkpoint {path!r} has no names that start with {prefix!r}, but {shortened(weights, 3)}; '
            'give the right prefix, or none'
        )
    return found
