"""Token labelling: the class token and the tokens of an image learn from a teacher's label map."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from mmmamba.models.heads.class_block_head import ClassBlockHead
from mmmamba.registry import MODELS

Box = tuple[int, int, int, int]
FLIPPED_AXES = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


@MODELS.register_module()
class TokenLabelHead(ClassBlockHead):
    """ClassBlockHead that learns from label maps in place of the labels of images; arguments as there.

    The class token learns the classes that the teacher sees in the image, each token those that it sees in its part of
    it; the classifier's loss, with its label smoothing, is that of both. For ``mmmamba.TokenLabelClassifier``, with
    samples from a pipeline that has ``mmmamba.LoadTokenLabel`` and ``mmmamba.BoxedRandomResizedCrop``.

    Source: Jiang et al., "All Tokens Matter" (2021), eq. 3 to 5.
    """

    def loss(self, feats: Sequence[Tensor], data_samples: list, box: Box) -> dict[str, Tensor]:
        """Losses of the class token and of the tokens.

        Args:
            feats: maps, of which the last (B, C, H, W) counts.
            data_samples: with ``token_label``, ``crop_box`` and, where they are flipped, ``flip_direction``.
            box: top, bottom, left and right of the tokens that belong to the images in reverse order.

        Returns:
            Losses by name.

        Raises:
            ValueError: if the samples have no label maps.
        """
        if not all(name in data_samples[0] for name in ('token_label', 'crop_box')):
            raise ValueError(
                'TokenLabelHead: samples have no token_label and crop_box; the pipeline needs mmmamba.LoadTokenLabel, '
                "mmmamba.BoxedRandomResizedCrop and PackInputs with algorithm_keys=('token_label', 'crop_box')"
            )
        height, width = feats[-1].shape[2:]
        num_classes = self.classifier.num_classes
        of_images, of_tokens = token_targets(data_samples, num_classes, (height, width), feats[-1].device)
        top, bottom, left, right = box
        share = (bottom - top) * (right - left) / (height * width)
        of_images = (1 - share) * of_images + share * of_images.flip(0)
        scores = self._pixel_scores(feats).unflatten(1, (height, width))  # (B, L, K) -> (B, H, W, K)
        scores = exchange(scores, box)
        return dict(
            loss_class=self._mean_loss(self._class_scores(feats), of_images),
            loss_token=self.token_loss_weight * self._mean_loss(scores.flatten(0, 2), of_tokens.flatten(0, 2)),
        )

    def _mean_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        return self.classifier.loss_module(scores, targets, avg_factor=len(scores))


def exchange(x: Tensor, box: Box) -> Tensor:
    """Take what is inside the box from the batch in reverse order; doing it twice changes nothing.

    Args:
        x: (B, H, W, C).
        box: top, bottom, left and right.
    """
    top, bottom, left, right = box
    mixed = x.clone()
    mixed[:, top:bottom, left:right] = x.flip(0)[:, top:bottom, left:right]
    return mixed


def token_targets(
    data_samples: list, num_classes: int, size: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """What a teacher sees in the crops of images.

    Args:
        data_samples: with ``token_label`` (2, k, h, w), ``crop_box`` (4,) and, where the crop was flipped,
            ``flip_direction``.
        num_classes: of the teacher.
        size: height and width of the tokens' map.
        device: of the result.

    Returns:
        Probabilities of the classes in each crop (B, num_classes), and in each token of it (B, *size, num_classes).
        Scores that the teacher's k best classes leave out are 0, as for the authors.
    """
    # Autocast to bfloat16 stacks nothing that is in float16.
    labels = torch.stack([sample.token_label.float() for sample in data_samples]).to(device)
    scores, classes = labels[:, 0], labels[:, 1].long()  # (B, k, h, w)
    count, _, height, width = scores.shape
    maps = scores.new_zeros(count, num_classes, height, width).scatter_(1, classes, scores)
    boxes = torch.stack([sample.crop_box for sample in data_samples]).to(scores)
    boxes = boxes * boxes.new_tensor([width, height, width, height])
    boxes = torch.cat([torch.arange(count).to(boxes)[:, None], boxes], 1)
    of_images = roi_align(maps, boxes, 1, aligned=True).flatten(1)
    of_tokens = roi_align(maps, boxes, size, aligned=True)  # (B, K, H, W)
    flips = [sample.get('flip_direction') for sample in data_samples]
    of_tokens = torch.stack([x.flip(FLIPPED_AXES[by]) if by else x for x, by in zip(of_tokens, flips, strict=True)])
    return of_images.softmax(1), of_tokens.permute(0, 2, 3, 1).softmax(3)
