"""What a model family tells the checkpoint room about itself: its key map, and how to read its shapes and arguments."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mmmamba.checkpoints.files import CheckpointError

Weights = Mapping[str, Tensor]
# What a key map runs into where it meets the names or shapes of another model.
UNFIT = (KeyError, IndexError, ValueError, RuntimeError, StopIteration)


@dataclass(frozen=True)
class Family:
    """One published model family.

    "Ours" means the names of a whole model: ``backbone.*`` and, where the authors publish a classifier, ``head.*``.

    Args:
        name: as the conformance cases spell it, ``'vmamba'``.
        backbone: class name of the backbone, ``'VMamba'``; of one inside an adapter, ``'ViTAdapter(PlainMamba)'``.
        stems: names, inside the backbone, of the convolution weights that read the image.
        is_published: whether these names (without a ``backbone.`` prefix) are the authors'.
        to_ours: the authors' state dict under our names and shapes.
        to_published: the reverse, in the authors' order.
        arch_from_shapes: the ``arch`` dict that fits the shapes of a state dict of ours; a KeyError where a tensor that
            such a model must have is missing.
        describe_arch: an ``arch`` dict as a user would write it: a name where there is one.
        model_config: ``(constructor, kwargs)`` as published to the config of the model, for ``MODELS.build``.
        variants: suffixes of golden figures, ``'_true_inverse'``, that were recorded on a repaired model, with the way
            from the config of the model as released to that of the repaired one.
    """

    name: str
    backbone: str
    stems: tuple[str, ...]
    is_published: Callable[[Iterable[str]], bool]
    to_ours: Callable[[Weights], dict[str, Tensor]]
    to_published: Callable[[Weights], dict[str, Tensor]]
    arch_from_shapes: Callable[[Weights], dict]
    describe_arch: Callable[[dict], str]
    model_config: Callable[[str, dict], dict]
    variants: Mapping[str, Callable[[dict], dict]] = field(default_factory=dict)

    def read(self, published: Weights) -> dict[str, Tensor]:
        """As ``to_ours``.

        Raises:
            CheckpointError: if these are the names or shapes of another model.
        """
        try:
            return self.to_ours(published)
        except CheckpointError:
            raise
        except UNFIT as error:
            raise CheckpointError(
                f'these are not the weights of {self.backbone}, or one of them is damaged ({error})'
            ) from error

    def infer_arch(self, ours: Weights) -> dict:
        """The keys of the backbone's ``arch`` that show in the shapes of a state dict under our names.

        Raises:
            CheckpointError: if a tensor that such a model must have is missing, or has other axes.
        """
        try:
            return self.arch_from_shapes(ours)
        except (KeyError, IndexError) as error:
            raise CheckpointError(
                f'these are not the weights of {self.backbone}: {error.args[0]!r} is missing'
            ) from None
        except UNFIT as error:
            raise CheckpointError(f'the shapes of these weights are not those of {self.backbone} ({error})') from error
