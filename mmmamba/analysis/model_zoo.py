"""The model zoo's page and figure, from the metafiles of the families and figures of other models beside them.

Every figure stands in a column that says whose it is: "authors'" as published, "our" as measured or counted here.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from mmmamba.engine.config import load_config
from mmmamba.errors import UserError

DATA = {
    'ImageNet-1k': 'Image classification, ImageNet-1k at 224x224',
    'COCO': 'Object detection and instance segmentation, COCO (other models: Mask R-CNN)',
    'ADE20K': 'Semantic segmentation, ADE20K, UPerNet',
    'UCF-101': 'Video classification, UCF-101',
}
HEAD = """# Model zoo

Written by `tools/misc/model_zoo.py` from the metafiles of `configs/`; change those, then run it again.

Columns headed "authors'" are published figures, those headed "our" were counted or measured here, results on the device
and day that stand beside them; a dash is what was not published, or not measured. FLOPs are MACs plus 9BLDN + BLD for
each route of a scan, of the whole model, at 224x224, 1280x800 (COCO), 2048x512 (ADE20K) and 32x224x224 (UCF-101);
`tools/analysis_tools/get_flops.py` counts them. Where the authors count otherwise, the README of the family says how.
"""
NOT_MEASURED = (
    ' Throughput is not shown: it has not been measured with these models. '
    '`tools/analysis_tools/benchmark.py` measures it; its `benchmark.json`, kept in `docs/`, adds column and panel.'
)


@dataclass(frozen=True)
class Model:
    """One row.

    Args:
        name: of the config, or of the model of another project.
        family: that it belongs to.
        data: training data, a key of ``DATA``.
        page: link to its config; None for another project's model.
        parameters: counted here; None for another project's model.
        flops: counted here; None for another project's model.
        published_parameters: the authors'; None if they print none.
        published_flops: the authors'; None if they print none.
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
    parameters: int | None = None
    flops: int | None = None
    published_parameters: int | None = None
    published_flops: int | None = None
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


def read_models(root: Path, *, find_speeds: bool = True) -> list[Model]:
    """The rows of every family's metafile, in the order of ``model-index.yml``.

    Args:
        root: of the repository.
        find_speeds: read the configs for the names that the benchmark gives their models.
    """
    models = []
    for page in yaml.safe_load((root / 'model-index.yml').read_text())['Import']:
        for entry in yaml.safe_load((root / page).read_text())['Models']:
            models.append(_from_entry(root, entry, find_speeds))
    return models


def read_references(file: Path) -> list[Model]:
    """Models of other projects, from ``docs/reference_models.yml``."""
    return [
        Model(
            name=entry['Name'],
            family=entry['Family'],
            data=entry['Data'],
            page=None,
            published_parameters=entry['Parameters'],
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


def speeds(file: Path) -> str:
    """What ``benchmark.json`` says of inference at 224x224, as Markdown: latency, throughput and memory by model.

    A batch of 1 counts as the latency, a larger one as the throughput, in every way of running that was timed; memory
    is that of the largest batch, run in the first of these ways.
    """
    result = json.loads(file.read_text())
    rows = [row for row in result['rows'] if row['cell']['mode'] == 'inference' and row['cell']['size'] == [224, 224]]
    cells = list(dict.fromkeys((row['cell']['batch'], row['cell']['run'], row['cell']['dtype']) for row in rows))
    largest = max(batch for batch, _, _ in cells)
    figures = {(row['model'], row['cell']['batch'], row['cell']['run'], row['cell']['dtype']): row for row in rows}
    heads = [f'{run}, {dtype}, {"ms" if batch == 1 else f"img/s at {batch}"}' for batch, run, dtype in cells]
    lines = [f'| model | {" | ".join(heads)} | peak MiB at {largest} |', '|---' * (len(heads) + 2) + '|']
    for model in dict.fromkeys(row['model'] for row in rows):
        found = [figures.get((model, *cell)) for cell in cells]
        shown = [_speed(row, cell[0]) for row, cell in zip(found, cells, strict=True)]
        peaks = [row['peak_mib'] for row in found if row and row['cell']['batch'] == largest and row['peak_mib']]
        lines.append(f'| {model} | {" | ".join(shown)} | {f"{peaks[0]:.0f}" if peaks else "–"} |')
    when = f', {result["date"]}' if 'date' in result else ''  # older files of benchmark.py have none
    return (
        f'## Speed\n\nInference at 224x224, measured by us on {result["device"]}, torch {result["torch"]}'
        f'{when}: milliseconds of one image and images per second, medians, and the memory that PyTorch '
        'held. Eager runs of one image measure the host; a graph is the replay of a CUDA graph, without it. '
        '`tools/analysis_tools/benchmark.py` measures all of it again.\n\n' + '\n'.join(lines) + '\n'
    )


def _speed(row: dict | None, batch: int) -> str:
    if row is None or row['problem']:
        return '–'
    return f'{row["milliseconds"]:.2f}' if batch == 1 else f'{row["images_per_second"]:.0f}'


def page(
    models: Sequence[Model],
    references: Sequence[Model],
    throughput: dict[str, float],
    device: str | None,
    speed: str = '',
) -> str:
    """The page as Markdown, with the figure beside it.

    Args:
        models: ours.
        references: those of other projects.
        throughput: images per second measured, by the benchmark's name.
        device: that it was measured on; None without measurement.
        speed: what :func:`speeds` says.
    """
    against, measured = 'FLOPs', NOT_MEASURED
    if device:
        against = 'FLOPs and throughput'
        measured = (
            ' Throughput is our own measurement of inference at 224x224, all models on the same kind of machine: '
            f'{device}.'
        )
    caption = (
        f'Published top-1 accuracy on ImageNet-1k against {against}. FLOPs are our count for the models here, which '
        'have full marks, and published for the others, which have hollow ones. The area of a mark grows with the '
        'number of parameters. Recipes differ between families (token labels, teachers, epochs), as their READMEs say.'
        f'{measured}'
    )
    parts = [HEAD, f'![Accuracy against {against}](model_zoo.png)\n\n{caption}\n']
    for data, title in DATA.items():
        ours = [model for model in models if model.data == data]
        others = [model for model in references if model.data == data]
        if ours:
            parts.append(f'## {title}\n\n' + '\n'.join(_table(ours, throughput)) + '\n')
            if others:
                parts.append('Other models, for comparison:\n\n' + '\n'.join(_table(others, throughput)) + '\n')
    return '\n'.join([*parts, speed] if speed else parts)


def plot(
    models: Sequence[Model], references: Sequence[Model], throughput: dict[str, float], device: str | None, file: Path
) -> None:
    """Accuracy on ImageNet against FLOPs and, where it was measured, throughput; hollow marks for other projects."""
    from matplotlib.figure import Figure

    shown = [m for m in (*models, *references) if m.data == 'ImageNet-1k' and 'top-1' in m.published]
    panels = [('FLOPs (G), our count; hollow: published', [(m.flops or m.published_flops) / 1e9 for m in shown])]
    speeds = [m.speed(throughput) for m in shown]
    if any(speeds):
        panels.append((f'images per second, measured\n{device}', speeds))
    styles = _styles(shown)
    figure = Figure(figsize=(7.5 * len(panels) + 2, 6.5), layout='constrained')
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (xlabel, positions) in zip(axes, panels, strict=True):
        _scatter(axis, shown, positions, styles)
        axis.set_xlabel(xlabel)
    axes[0].set_ylabel('ImageNet-1k top-1 (%), published')
    keys = [axes[0].scatter([], [], s=45, label=family, **style) for family, style in styles.items()]
    figure.legend(handles=keys, loc='outside right upper', fontsize=9)
    figure.savefig(file, dpi=110)


def _styles(models: Sequence[Model]) -> dict[str, dict]:
    """How the marks of each family look, in the order of the legend."""
    ours = dict.fromkeys(m.family for m in models if m.is_ours)
    others = dict.fromkeys(m.family for m in models if not m.is_ours)
    full = {
        family: dict(marker='oDs'[i % 3], facecolors=f'C{i % 10}', edgecolors='white', linewidths=0.6, alpha=0.85)
        for i, family in enumerate(ours)
    }
    hollow = {
        family: dict(marker='^vXP'[i % 4], facecolors='none', edgecolors='black', linewidths=1.1)
        for i, family in enumerate(others)
    }
    return full | hollow


def _scatter(axis, models: Sequence[Model], positions: Sequence[float | None], styles: dict[str, dict]) -> None:
    """One panel; a model without a position stays out of it."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for family, style in styles.items():
        mine = [(x, m) for x, m in zip(positions, models, strict=True) if m.family == family and x]
        mine.sort(key=lambda pair: pair[0])
        xs, ys = [x for x, _ in mine], [m.published['top-1'] for _, m in mine]
        sizes = [16 + (m.parameters or m.published_parameters) / 7e5 for _, m in mine]
        hollow = style['facecolors'] == 'none'
        if hollow:
            axis.plot(xs, ys, ':', color='black', linewidth=0.8, alpha=0.5)
        axis.scatter(xs, ys, s=sizes, zorder=3 if hollow else 2, **style)
    axis.set_xscale('log')
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter('{x:g}')
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)


def _from_entry(root: Path, entry: dict, find_speeds: bool) -> Model:
    metadata, results = entry['Metadata'], entry.get('Results', [])
    by_source = {'authors': {}, 'ours': {}}
    for result in results:
        by_source[result['Source']].update(result['Metrics'])
    devices = dict.fromkeys(f'{result["Device"]}, {result["Date"]}' for result in results if 'Device' in result)
    data, benchmark = metadata['Training Data'], [entry['Name']]
    if find_speeds and data == 'ImageNet-1k':
        backbone = load_config(str(root / entry['Config'])).model.backbone
        benchmark.append(f'{backbone.type.removeprefix("mmmamba.")}:{backbone.arch}')
    return Model(
        name=entry['Name'],
        family=entry['In Collection'],
        data=data,
        page=f'../{entry["Config"]}',
        parameters=metadata['Parameters'],
        flops=metadata['FLOPs'],
        published_parameters=metadata.get('Published Parameters'),
        published_flops=metadata.get('Published FLOPs'),
        published=by_source['authors'],
        measured=by_source['ours'],
        device='; '.join(devices) or None,
        benchmark=tuple(benchmark),
    )


def _table(models: Sequence[Model], throughput: dict[str, float]) -> Iterator[str]:
    metrics = list(dict.fromkeys(name for model in models for name in (*model.published, *model.measured)))
    ours = models[0].is_ours
    header = ['family', 'config' if ours else 'model'] + (['our params', 'our FLOPs'] if ours else [])
    header += ["authors' params", "authors' FLOPs", *(f"authors' {name}" for name in metrics)]
    header += [*(f'our {name}' for name in metrics), 'device, date'] if ours else []
    has_throughput = models[0].data == 'ImageNet-1k' and bool(throughput)
    header += ['our img/s'] if has_throughput else []
    header += [] if ours else ['note']
    yield f'| {" | ".join(header)} |'
    yield '|' + '---|' * len(header)
    for model in models:
        cells = [model.family, f'[{model.name}]({model.page})' if ours else model.name]
        cells += [f'{model.parameters / 1e6:.2f} M', _counted(model.flops)] if ours else []
        cells += [_printed(model.published_parameters, 1e6, 'M'), _printed(model.published_flops, 1e9, 'G')]
        cells += [_number(model.published.get(name)) for name in metrics]
        cells += [*(_number(model.measured.get(name)) for name in metrics), model.device or '–'] if ours else []
        cells += [_number(model.speed(throughput), 0)] if has_throughput else []
        cells += [] if ours else [model.note or '']
        yield f'| {" | ".join(cells)} |'


def _counted(flops: int) -> str:
    giga = flops / 1e9
    return f'{giga:.{2 if giga < 10 else 1 if giga < 100 else 0}f} G'


def _printed(number: int | None, unit: float, letter: str) -> str:
    """A published number, as round as it was printed."""
    return '–' if number is None else f'{number / unit:g} {letter}'


def _number(value: float | None, digits: int = 1) -> str:
    return '–' if value is None else f'{value:.{digits}f}'
