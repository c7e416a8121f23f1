"""mmdet's inferencer for our models."""

import numpy as np
from mmdet.apis import DetInferencer as MMDetInferencer
from mmdet.structures import DetDataSample

from mmmamba.apis.inferencer import NamedModels


class DetInferencer(NamedModels, MMDetInferencer):
    """mmdet's ``DetInferencer``, its arguments and results, with our names and safe checkpoints."""

    def predict(self, image: np.ndarray) -> DetDataSample:
        """The prediction for an image, (H, W, 3) uint8, BGR."""
        return self(image, return_datasamples=True)['predictions'][0]

    def draw(self, image: np.ndarray, sample: DetDataSample, score_thr: float = 0.3) -> np.ndarray:
        """The image with boxes and masks that score ``score_thr`` or more, BGR."""
        rgb = image[..., ::-1]
        self.visualizer.add_datasample('image', rgb, sample, draw_gt=False, pred_score_thr=score_thr)
        return self.visualizer.get_image()[..., ::-1]

    def describe(self, sample: DetDataSample, score_thr: float = 0.0) -> dict:
        """Labels, scores, boxes (x1, y1, x2, y2) and masks (COCO's run lengths) of score ``score_thr`` or more."""
        sample = sample.clone()
        sample.pred_instances = sample.pred_instances[sample.pred_instances.scores >= score_thr]
        record = self.pred2dict(sample)
        classes = self.model.dataset_meta['classes']
        return {**record, 'classes': [classes[label] for label in record['labels']]}
