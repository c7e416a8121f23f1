"""The initializer that a config names to start a backbone from published weights."""

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import nn

from mmmamba.checkpoints.loading import load_weights
from mmmamba.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module(name='Pretrained')
class Pretrained:
    """Load a checkpoint, the authors' or ours, strictly, and log what was loaded.

    ``init_cfg=dict(type='mmmamba.Pretrained', checkpoint='vssm1_tiny.pth')``. Unlike mmengine's ``Pretrained`` it knows
    the authors' layouts, and tensors that do not fit are an error. In a list of initializers it comes last.

    Args:
        checkpoint: path or http(s) address.
        ema: take the moving average that some files hold beside the weights.
    """

    def __init__(self, checkpoint: str, ema: bool = False):
        self.checkpoint = checkpoint
        self.ema = ema

    def __call__(self, module: nn.Module) -> None:
        """Initialize ``module``, a backbone or a whole model.

        Args:
            module: whose ``init_cfg`` names this initializer.

        Raises:
            CheckpointError: if the checkpoint cannot be read or does not fit.
        """
        report = load_weights(module, self.checkpoint, ema=self.ema)
        print_log(f'{type(module).__name__} from {self.checkpoint}: {report}', logger='current')
        for child in module.modules():  # mmengine initializes the children after this; they must keep what was loaded
            if child is not module and hasattr(child, 'init_weights'):
                child.is_init = True  # type: ignore[assignment] # mmengine's flag
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'mmmamba.Pretrained: {self.checkpoint}')
