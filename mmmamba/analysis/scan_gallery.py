"""Pictures of routes: the path over a small map, each pixel with the number of its step, coloured by it."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from mmmamba.scans import MODIFIERS, VOLUME_MODIFIERS, parse_route, route_names

SQUARE, OBLONG, VOLUME = (7, 7), (4, 8), (3, 4, 4)
SMALL = {'window': 'window:3', 'atrous': 'atrous:2', 'shuffle': 'shuffle:0'}  # parameters that show on such maps
COLUMNS = 4


def gallery_routes() -> dict[str, list[str]]:
    """Names of the routes drawn, by the heading that they stand under."""
    return {
        'Base routes': [SMALL.get(name, name) for name in route_names()],
        'Modifiers, of the diagonal': ['diagonal', *(f'diagonal.{modifier}' for modifier in MODIFIERS)],
        'Through volumes of 3 frames': [*route_names(3), *(f'snake_3d.{modifier}' for modifier in VOLUME_MODIFIERS)],
    }


def draw_gallery(folder: str | Path) -> list[Path]:
    """Draw every route.

    Args:
        folder: gets ``scan_gallery.png`` with all of them and ``ROUTE.png`` for each.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    groups = gallery_routes()
    files = [folder / 'scan_gallery.png']
    _draw_all(groups).savefig(files[0], dpi=75)
    for name in dict.fromkeys(name for names in groups.values() for name in names):
        figure = Figure(figsize=(6.4, 3.3), layout='constrained')
        _draw_route(name, figure)
        files.append(folder / f'{name.replace(":", "-")}.png')
        figure.savefig(files[-1], dpi=100)
    return files


def draw_path(axes: Axes, order: Sequence[int], rows: int, cols: int) -> None:
    """The path of a route over a map: neighbouring steps joined by thick lines, jumps by thin ones.

    Args:
        axes: to draw on.
        order: pixel of each step.
        rows: of the map.
        cols: of the map.
    """
    colours = colormaps['viridis']
    last = max(1, len(order) - 1)
    points = [(pixel % cols, pixel // cols) for pixel in order]
    for step, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        is_jump = max(abs(x1 - x0), abs(y1 - y0)) > 1
        style = dict(linewidth=0.7, alpha=0.5) if is_jump else dict(linewidth=3)
        axes.plot([x0, x1], [y0, y1], color=colours(step / last), zorder=1, **style)
    for step, (x, y) in enumerate(points):
        share = step / last
        axes.plot(x, y, 'o', color=colours(share), markersize=13, zorder=2)
        ink = 'white' if share < 0.6 else 'black'
        axes.text(x, y, str(step), ha='center', va='center_baseline', fontsize=7.5, color=ink, zorder=3)
    axes.set(xlim=(-0.6, cols - 0.4), ylim=(rows - 0.4, -0.6), aspect='equal', xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color('lightgray')


def _draw_all(groups: dict[str, list[str]]) -> Figure:
    heights = [-(-len(names) // COLUMNS) for names in groups.values()]
    figure = Figure(figsize=(6 * COLUMNS, 2.9 * sum(heights) + 0.5 * len(groups)), layout='constrained')
    parts = figure.subfigures(len(groups), 1, height_ratios=[2.9 * height + 0.5 for height in heights], squeeze=False)
    for (heading, names), part, rows in zip(groups.items(), parts[:, 0], heights, strict=True):
        part.suptitle(heading, fontsize=17, fontweight='bold')
        places = part.subfigures(rows, COLUMNS, squeeze=False).flat[: len(names)]
        for name, place in zip(names, places, strict=True):
            _draw_route(name, place)
    return figure


def _draw_route(name: str, figure: Figure | SubFigure) -> None:
    figure.suptitle(name, fontsize=13)
    panels = list(_panels(name))
    widths = [cols for _, _, cols in panels]
    row = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for axes, panel in zip(row, panels, strict=True):
        draw_path(axes, *panel)


def _panels(name: str) -> Iterator[tuple[list[int], int, int]]:
    """Order, rows and columns of each map that is drawn: two sizes, or one volume with its frames side by side."""
    route = parse_route(name)
    if route.axes == 2:
        for rows, cols in (SQUARE, OBLONG):
            yield route.order(rows, cols).tolist(), rows, cols
        return
    t, rows, cols = VOLUME
    voxels = route.order(*VOLUME)
    frame, r, c = voxels // (rows * cols), voxels // cols % rows, voxels % cols
    width = t * (cols + 1) - 1  # a free column between frames
    yield (r * width + frame * (cols + 1) + c).tolist(), rows, width
