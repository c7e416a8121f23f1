"""The end of a search for routes."""

import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmmamba.engine.unwrap import unwrap_model
from mmmamba.layers.scans import LocalSearch
from mmmamba.registry import HOOKS


@HOOKS.register_module()
class FreezeRoutesHook(Hook):
    """Freeze the routes that each ``local_search`` scan has found, print them, and write the config that has them.

    Args:
        count: routes to keep in each layer.
        begin: iteration before which the search ends; what is left of the training tunes the routes found. None
            searches to the end.

    The work directory gets ``searched_scan.json``, what ``model.backbone.scan`` takes to train the result from the
    start, as LocalMamba does.
    """

    def __init__(self, count: int = 4, begin: int | None = None) -> None:
        self.count = count
        self.begin = begin

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """End the search where ``begin`` says."""
        if runner.iter == self.begin:
            self._freeze(runner)

    def after_train(self, runner) -> None:
        """End the search."""
        if self.begin is None or runner.iter <= self.begin:
            self._freeze(runner)

    def _freeze(self, runner) -> None:
        model = unwrap_model(runner.model)
        searches = {name: m for name, m in model.named_modules() if isinstance(m, LocalSearch)}
        if not searches:
            raise ValueError("FreezeRoutesHook: no layer has the scan 'local_search'; set model.backbone.scan to it")
        scans = []
        for name, search in searches.items():
            weights = search.route_logits.detach().softmax(0).tolist()
            routes = search.freeze(self.count)
            scans.append(dict(type='local', routes=routes))
            shares = ', '.join(f'{r} {w:.3f}' for r, w in zip(search.routes.names, weights, strict=True))
            runner.logger.info(f'{name}: keeps {", ".join(routes)} of {shares}')
        if is_main_process():
            file = Path(runner.work_dir) / 'searched_scan.json'
            file.write_text(json.dumps(dict(type='per_layer', scans=scans), indent=1))
            runner.logger.info(f'searched routes are in {file}: model.backbone.scan of a training from the start')
