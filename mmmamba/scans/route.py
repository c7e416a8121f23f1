"""Routes by name: ``base``, ``base:parameter`` or ``base:parameter.modifier.modifier``, and their tables.

Tables are cached for all mixers together, by routes, size and device.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, wraps

import torch
from torch import Tensor

from mmmamba.registry import SCANS

from .modifiers import MODIFIERS, VOLUME_MODIFIERS, Order


class UnknownRouteError(ValueError):
    """A route that does not exist, in its base or a modifier."""

    def __init__(self, name: str) -> None:
        super().__init__(f'route {name!r} is unknown; {known_routes()}')
        self.name = name


@dataclass(frozen=True)
class Route:
    """An order over the pixels of a map, or the voxels of a volume, that config and cache know by its name.

    Args:
        base: a name in ``SCANS``.
        parameters: the values of the base's keyword arguments, in their order, as many as are given.
        modifiers: applied from left to right.

    Raises:
        UnknownRouteError: if the base or a modifier does not exist; the message lists those that do.
        ValueError: if a parameter has no place or is refused, or the base is no bijection.
    """

    base: str
    parameters: tuple[int, ...] = ()
    modifiers: tuple[str, ...] = ()
    name: str = field(init=False)  # gives this route back through parse_route; made once, a compiled graph cannot

    def __post_init__(self) -> None:
        name = '.'.join([':'.join([self.base, *map(str, self.parameters)]), *self.modifiers])
        object.__setattr__(self, 'name', name)
        if self.base not in SCANS.module_dict:
            raise UnknownRouteError(self.name)
        known = (*MODIFIERS, *VOLUME_MODIFIERS) if self.axes == 3 else MODIFIERS
        if not set(self.modifiers) <= set(known):
            raise UnknownRouteError(self.name)
        keywords = _keywords(self.base)
        if len(self.parameters) > len(keywords):
            takes = f'only {", ".join(keywords)}' if keywords else 'no parameter'
            raise ValueError(f'route {self.name!r}: {self.base!r} takes {takes}')
        sizes = (2, 3, 5)[-self.axes :]
        with torch.device('cpu'):  # a model may be built on another one, such as meta
            pixels = torch.arange(torch.Size(sizes).numel())
            is_bijection = torch.equal(self.order(*sizes).sort().values, pixels)
        if not is_bijection:  # the base may be a user's
            raise ValueError(f'route {self.name!r} does not visit each pixel of a map of {sizes} once')

    @cached_property
    def axes(self) -> int:
        """2 for a map, 3 for a volume."""
        return len(_signature(self.base)[0])

    @cached_property
    def order(self) -> Order:
        """``(*sizes) -> (L,)`` int64, the row-major index visited at each step."""
        # A name may leave out the last parameters, which have defaults.
        function, parameters = self.function, dict(zip(_keywords(self.base), self.parameters, strict=False))

        def order(*sizes: int) -> Tensor:
            return function(*sizes, **parameters)

        for modifier in self.modifiers:
            order = (MODIFIERS | VOLUME_MODIFIERS)[modifier](order)
        return order

    @property
    def function(self) -> Order:
        """The base."""
        return SCANS.module_dict[self.base]

    @cached_property
    def key(self) -> tuple[str, Order]:
        """What tells this order from others in a cache, at less cost in every forward pass than the route itself."""
        return self.name, self.function

    def __str__(self) -> str:
        return self.name

    def __reduce__(self):  # without the cached order, which cannot be pickled
        return Route, (self.base, self.parameters, self.modifiers)


def parse_route(route: str | dict | Route) -> Route:
    """A route from what a config says.

    Args:
        route: such as ``'raster'``, ``'window:7.transpose.reverse'`` or
            ``dict(type='window', size=7, modifiers=['transpose', 'reverse'])``.

    Raises:
        ValueError: if it names what does not exist; the message lists what does.
        TypeError: if it is neither.
    """
    if isinstance(route, Route):
        return route
    if isinstance(route, dict):
        return _from_dict(route)
    if not isinstance(route, str):
        raise TypeError(f'route {route!r} is neither a name nor a dict; {known_routes()}')
    base, *modifiers = route.split('.')
    base, *numbers = base.split(':')
    try:
        parameters = tuple(int(number) for number in numbers)
    except ValueError:
        raise ValueError(f'route {route!r}: the parameter after {base!r} must be a whole number') from None
    return Route(base, parameters, tuple(modifiers))


def _from_dict(route: dict) -> Route:
    options = dict(route)
    base, modifiers = options.pop('type', None), tuple(options.pop('modifiers', ()))
    if base not in SCANS.module_dict:
        raise ValueError(f'route {route!r} has no type that exists; {known_routes()}')
    keywords = _keywords(base)
    unknown = sorted(set(options) - set(keywords))
    if unknown:
        takes = ', '.join(['modifiers', *keywords])
        raise ValueError(f'route {route!r} has the unknown keys {unknown}; {base!r} takes {takes}')
    parameters, defaults = [], _signature(base)[1]
    for keyword in keywords[: max((keywords.index(key) + 1 for key in options), default=0)]:
        parameters.append(options.get(keyword, defaults[keyword]))
    return Route(base, tuple(parameters), modifiers)


def route_names(axes: int = 2) -> list[str]:
    """Names of the base routes over maps (2) or through volumes (3)."""
    return sorted(base for base in SCANS.module_dict if len(_signature(base)[0]) == axes)


def known_routes() -> str:
    """What an error says about the routes that exist."""
    bases = [':'.join([base, *(f'<{keyword}>' for keyword in _keywords(base))]) for base in route_names()]
    return (
        f'routes: {", ".join(bases)}, each with .{", .".join(MODIFIERS)}; through volumes: '
        f'{", ".join(route_names(3))}, also with .{", .".join(VOLUME_MODIFIERS)}'
    )


def _signature(base: str) -> tuple[list[str], dict[str, int]]:
    """Names of the sizes, and keyword arguments with their defaults, of a base route."""
    parameters = inspect.signature(SCANS.module_dict[base]).parameters.values()
    sizes = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return sizes, {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _keywords(base: str) -> list[str]:
    return list(_signature(base)[1])


_TABLES: OrderedDict[tuple, Tensor] = OrderedDict()
_MOST_TABLES = 256


def route_tables(routes: Sequence[Route], sizes: Sequence[int], device: torch.device | str = 'cpu') -> Tensor:
    """The routes over a map or volume of these sizes: (K, L) int64. Not to be written to: everybody gets the same one.

    Under ``torch.compile`` an op of the graph looks them up, so that one graph serves all sizes.

    Args:
        routes: all over maps or all through volumes.
        sizes: (h, w) or (t, h, w).
        device: where the table lies.
    """
    if torch.compiler.is_compiling():
        return _route_tables_op(' '.join([route.name for route in routes]), list(sizes), torch.device(device))
    key = (*[route.key for route in routes], *sizes, torch.device(device))
    if key in _TABLES:
        _TABLES.move_to_end(key)
        return _TABLES[key]
    # An inference tensor in the cache could not serve training, a default device would refuse the generator of shuffle.
    with torch.inference_mode(False), torch.device('cpu'):
        table = torch.stack([route.order(*sizes) for route in routes]).to(device)
    _TABLES[key] = table
    if len(_TABLES) > _MOST_TABLES:
        _TABLES.popitem(last=False)
    return table


def cached_tables(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes a table of its arguments once, not in every forward pass; under ``torch.compile`` as it is.

    Args:
        make: of arguments that can be keys of a dict. The device of the table must be one of them.
    """

    @lru_cache(_MOST_TABLES)
    def kept(*arguments):
        with torch.inference_mode(False):  # an inference tensor could not serve training
            return make(*arguments)

    @wraps(make)
    def table(*arguments):
        return make(*arguments) if torch.compiler.is_compiling() else kept(*arguments)

    return table


@torch.library.custom_op('mmmamba::route_tables', mutates_args=())
def _route_tables_op(names: str, sizes: list[int], device: torch.device) -> Tensor:
    return route_tables(_parse_routes(names), sizes, device).clone()  # the graph owns it


@lru_cache(_MOST_TABLES)
def _parse_routes(names: str) -> tuple[Route, ...]:
    return tuple(parse_route(name) for name in names.split())


@_route_tables_op.register_fake
def _(names, sizes, device):
    pixels = 1
    for size in sizes:
        pixels = pixels * size
    return torch.empty((len(names.split()), pixels), dtype=torch.int64, device=device)
