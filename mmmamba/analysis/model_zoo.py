"""The model zoo's page and figure, from the metafiles of the families and figures of other models beside them.

Every figure stands in a column that says whose it is: "authors'" as published, "our" as measured or counted here.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from mmmamba.analysis.flops import PUBLISHED_SIZES, build_on_meta, count_inference
from mmmamba.engine.config import load_config
from mmmamba.engine.errors import UserError

DATA = {
    'ImageNet-1k': 'Image classification, ImageNet-1k at 224x224',
    'COCO': 'Object detection and instance segmentation, COCO, Mask R-CNN',
    'ADE20K': 'Semantic segmentation, ADE20K, UPerNet',
}
HEAD = """# Model zoo

Written by `tools/misc/model_zoo.py` from the metafiles of `configs/`; change those, then run it again.

Columns headed "authors'" are published figures, those headed "our" were counted or measured here, on the device and day
that stand beside them; a dash is what was not published, or not measured. FLOPs are MACs plus 9BLDN + BLD for each
route of a scan, of the whole model, at 224x224, 1280x800 (COCO) and 2048x512 (ADE20K);
`tools/analysis_tools/get_flops.py` counts them.
"""


@dataclass(frozen=True)
class Model:
    """One row.

    Args:
        name: of the config, or of the model of another project.
        family: that it belongs to.
        data: training data, a key of ``DATA``.
        page: link to its config; None for another project's model.
        parameters: counted here; published ones of another project's model.
        published_flops: the authors'; None if they print none.
        counted_flops: ours; None if not counted.
        published: the authors' results by metric.
        measured: ours.
        device: and date of ours.
        benchmark: names in the benchmark's files; the first that was measured counts.
        note: where another source than the authors is meant.
    """

    name: str
    family: str
    data: str
    page: str | None
    parameters: float
    published_flops: float | None
    counted_flops: float | None = None
    published: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    device: str | None = None
    benchmark: tuple[str, ...] = ()
    note: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether there is a config for it."""
        return self.page is not None

    def speed(self, throughput: dict[str, float]) -> float | None:
        """Its images per second among those measured."""
        return next((throughput[name] for name in self.benchmark if name in throughput), None)


def read_models(root: Path, *, count: bool = True, find_speeds: bool = True) -> list[Model]:
    """The rows of every family's metafile, in the order of ``model-index.yml``.

    Args:
        root: of the repository.
        count: count the FLOPs of every config's model; a second each.
        find_speeds: read the configs for the names that the benchmark gives their models.
    """
    models = []
    for page in yaml.safe_load((root / 'model-index.yml').read_text())['Import']:
        for entry in yaml.safe_load((root / page).read_text())['Models']:
            models.append(_from_entry(root, entry, count, find_speeds))
    return models


def read_references(file: Path) -> list[Model]:
    """Models of other projects, from ``docs/reference_models.yml``."""
    return [
        Model(
            name=entry['Name'],
            family=entry['Family'],
            data=entry['Data'],
            page=None,
            parameters=entry['Parameters'],
            published_flops=entry['FLOPs'],
            published=entry['Metrics'],
            benchmark=tuple(entry.get('Benchmark', ())),
            note=entry.get('Note'),
        )
        for entry in yaml.safe_load(file.read_text())['Models']
    ]


def read_throughput(file: Path) -> tuple[str, dict[str, float]]:
    """What ``benchmark.json`` says of inference at 224x224: on what, and images per second by model.

    All are of one way of running, precision and batch: the one that most models have, the largest batch of several.

    Raises:
        UserError: if the file has no such row.
    """
    result = json.loads(file.read_text())
    speeds = defaultdict(dict)
    for row in result['rows']:
        cell = row['cell']
        if row['images_per_second'] and cell['mode'] == 'inference' and cell['size'] == [224, 224]:
            speeds[cell['batch'], cell['run'], cell['dtype']][row['model']] = row['images_per_second']
    if not speeds:
        raise UserError(f'benchmark {str(file)!r} has no inference at 224x224; run benchmark.py with --sizes 224')
    batch, run, dtype = max(speeds, key=lambda key: (len(speeds[key]), key))
    return f'{result["device"]}, torch {result["torch"]}, {run}, {dtype}, batch {batch}', speeds[batch, run, dtype]


def page(models: Sequence[Model], references: Sequence[Model], throughput: dict[str, float], device: str | None) -> str:
    """The page as Markdown, with the figure beside it.

    Args:
        models: ours.
        references: those of other projects.
        throughput: images per second measured, by the benchmark's name.
        device: that it was measured on; None without measurement.
    """
    against, measured = 'FLOPs', ''
    if device:
        against = 'FLOPs and throughput'
        measured = f' Throughput is our own measurement of inference at 224x224, all models in one run: {device}.'
    caption = (
        f'Published top-1 accuracy on ImageNet-1k against {against}; hollow marks: other models. The area of a mark is '
        f'the number of parameters.{measured}'
    )
    parts = [HEAD, f'![Accuracy against {against}](model_zoo.png)\n\n{caption}\n']
    for data, title in DATA.items():
        ours = [model for model in models if model.data == data]
        others = [model for model in references if model.data == data]
        if ours:
            parts.append(f'## {title}\n\n' + '\n'.join(_table(ours, throughput)) + '\n')
            if others:
                parts.append('Other models, for comparison:\n\n' + '\n'.join(_table(others, throughput)) + '\n')
    return '\n'.join(parts)


def plot(
    models: Sequence[Model], references: Sequence[Model], throughput: dict[str, float], device: str | None, file: Path
) -> None:
    """Accuracy on ImageNet against FLOPs and, where it was measured, throughput; hollow marks for other projects."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    everything = [m for m in (*models, *references) if m.data == 'ImageNet-1k' and 'top-1' in m.published]
    flops = {m.name: (m.published_flops or 0) / 1e9 for m in everything}
    speeds = {m.name: m.speed(throughput) or 0 for m in everything}
    panels = [('FLOPs (G), published', flops)]
    if any(speeds.values()):
        panels.append((f'images per second, measured\n{device}', speeds))
    figure = Figure(figsize=(6.5 * len(panels) + 2.2, 5.5), layout='constrained')
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    families = list(dict.fromkeys(m.family for m in everything))
    for axis, (xlabel, positions) in zip(axes, panels, strict=True):
        for i, family in enumerate(families):
            mine = sorted(
                (m for m in everything if m.family == family and positions[m.name]), key=lambda m: positions[m.name]
            )
            if not mine:
                continue
            xs, ys = [positions[m.name] for m in mine], [m.published['top-1'] for m in mine]
            ours = mine[0].is_ours
            marker = 'o' if ours else 'DsP^vX'[i % 6]
            faces = dict(color=f'C{i % 10}', alpha=0.8) if ours else dict(facecolors='none', edgecolors='dimgrey')
            if not ours:
                axis.plot(xs, ys, ':', color='grey', alpha=0.5)
            axis.scatter(xs, ys, s=[12 + m.parameters / 4e5 for m in mine], marker=marker, label=family, **faces)
        axis.set(xscale='log', xlabel=xlabel)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter('{x:g}')
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0].set_ylabel('ImageNet-1k top-1 (%), published')
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside right upper', fontsize=8, markerscale=0.6)
    figure.savefig(file, dpi=110)


def _from_entry(root: Path, entry: dict, count: bool, find_speeds: bool) -> Model:
    metadata, results = entry['Metadata'], entry.get('Results', [])
    by_source = {'authors': {}, 'ours': {}}
    for result in results:
        by_source[result['Source']].update(result['Metrics'])
    devices = dict.fromkeys(f'{result["Device"]}, {result["Date"]}' for result in results if 'Device' in result)
    data, counted, benchmark = metadata['Training Data'], None, [entry['Name']]
    if count or (find_speeds and data == 'ImageNet-1k'):
        cfg = load_config(str(root / entry['Config']))
        backbone = cfg.model.backbone
        benchmark.append(f'{backbone.type.removeprefix("mmmamba.")}:{backbone.arch}')
    if count:
        counted = count_inference(build_on_meta(cfg), PUBLISHED_SIZES[cfg.default_scope])[''].flops
    return Model(
        name=entry['Name'],
        family=entry['In Collection'],
        data=data,
        page=f'../{entry["Config"]}',
        parameters=metadata['Parameters'],
        published_flops=metadata.get('FLOPs'),
        counted_flops=counted,
        published=by_source['authors'],
        measured=by_source['ours'],
        device='; '.join(devices) or None,
        benchmark=tuple(benchmark),
    )


def _table(models: Sequence[Model], throughput: dict[str, float]) -> Iterator[str]:
    metrics = list(dict.fromkeys(name for model in models for name in (*model.published, *model.measured)))
    ours = models[0].is_ours
    header = ['family', 'config' if ours else 'model', 'our params' if ours else "authors' params", "authors' FLOPs"]
    header += ['our FLOPs'] if ours else []
    header += [f"authors' {name}" for name in metrics]
    header += [f'our {name}' for name in metrics] + ['device, date'] if ours else []
    has_throughput = models[0].data == 'ImageNet-1k' and bool(throughput)
    header += ['our img/s'] if has_throughput else []
    header += [] if ours else ['note']
    yield f'| {" | ".join(header)} |'
    yield '|' + '---|' * len(header)
    for model in models:
        cells = [model.family, f'[{model.name}]({model.page})' if ours else model.name]
        cells += [f'{model.parameters / 1e6:.2f} M' if ours else f'{model.parameters / 1e6:.0f} M']
        cells += [_giga(model.published_flops)] + ([_giga(model.counted_flops)] if ours else [])
        cells += [_number(model.published.get(name)) for name in metrics]
        cells += [*(_number(model.measured.get(name)) for name in metrics), model.device or '–'] if ours else []
        cells += [_number(model.speed(throughput), 0)] if has_throughput else []
        cells += [] if ours else [model.note or '']
        yield f'| {" | ".join(cells)} |'


def _giga(flops: float | None) -> str:
    if flops is None:
        return '–'
    return f'{flops / 1e9:.1f} G' if flops < 1e11 else f'{flops / 1e9:.0f} G'


def _number(value: float | None, digits: int = 1) -> str:
    return '–' if value is None else f'{value:.{digits}f}'
