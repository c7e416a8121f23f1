"""A backbone of clips from the weights of its form for images, which then sees in a still clip what that sees."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmmamba.layers import PositionEmbed


def inflate(model: nn.Module, stems: Sequence[str], weights: dict[str, Tensor], adapted: dict[str, str]) -> None:
    """Bring weights of images, in ``weights``, to the shapes of a backbone of clips; leave those of clips alone.

    The filters of a stem are repeated over the frames of a patch and divided by their number; every frame gets the
    position embeddings of the image.

    Args:
        model: the backbone.
        stems: names of the convolution weights that read the clip.
        weights: under its names.
        adapted: where to note the changes by name.
    """
    own = model.state_dict()
    if not all(weights[name].dim() == 4 and own[name].dim() == 5 for name in stems if name in weights):
        return
    for name in stems:
        if name in weights:
            frames = own[name].shape[2]
            weights[name] = weights[name][:, :, None].repeat(1, 1, frames, 1, 1) / frames
            _note(adapted, name, f'inflated to {frames} frames')
    for prefix, module in model.named_modules():
        name = f'{prefix}.weight'
        if isinstance(module, PositionEmbed) and name in weights:
            spread = module.spread(weights[name])
            if spread.shape == own[name].shape:
                _note(adapted, name, 'spread over a grid of ' + 'x'.join(map(str, module.grid)))
            weights[name] = spread


def _note(adapted: dict[str, str], name: str, change: str) -> None:
    adapted[name] = ', '.join(filter(None, (adapted.get(name), change)))
