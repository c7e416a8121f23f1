"""mmseg's inferencer for our models."""

import numpy as np
from mmengine.config import Config
from mmengine.model import BaseModel
from mmseg.apis import MMSegInferencer as MMSegmentationInferencer
from mmseg.structures import SegDataSample
from pycocotools import mask as coco_mask

from mmmamba.apis.inferencer import NamedModels


class MMSegInferencer(NamedModels, MMSegmentationInferencer):
    """mmseg's ``MMSegInferencer``, its arguments and results, with our names and safe checkpoints."""

    def _load_weights_to_model(self, model: BaseModel, checkpoint: dict, cfg: Config) -> None:
        super()._load_weights_to_model(model, checkpoint, cfg)
        classes = model.dataset_meta['classes'] or [str(i) for i in range(model.decode_head.num_classes)]
        palette = model.dataset_meta['palette']
        if not palette:  # mmseg would take the nineteen colours of Cityscapes
            palette = np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
        model.dataset_meta = dict(classes=classes, palette=palette)

    def predict(self, image: np.ndarray) -> SegDataSample:
        """The prediction for an image, (H, W, 3) uint8, BGR."""
        return self(image, return_datasamples=True)

    def draw(self, image: np.ndarray, sample: SegDataSample, score_thr: float = 0.0) -> np.ndarray:
        """The image under a map of classes, BGR; ``score_thr`` has no meaning here."""
        self.visualizer.set_dataset_meta(**self.model.dataset_meta)
        self.visualizer.add_datasample('image', image[..., ::-1], sample, draw_gt=False)
        return self.visualizer.get_image()[..., ::-1]

    def describe(self, sample: SegDataSample, score_thr: float = 0.0) -> dict:
        """Of every class in the map its label, name, share of the pixels and mask (COCO's run lengths)."""
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        classes = self.model.dataset_meta['classes']
        segments = []
        for label in np.unique(labels).tolist():
            mask = coco_mask.encode(np.asfortranarray(labels == label, dtype=np.uint8))
            mask['counts'] = mask['counts'].decode()
            segments.append({
                'label': label, 'class': classes[label], 'share': float((labels == label).mean()), 'mask': mask
            })  # fmt: skip
        return {'segments': segments}
