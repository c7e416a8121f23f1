"""Lines of progress, with the time left, for what may take longer than ten seconds."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

Item = TypeVar('Item')
INTERVAL = 5.0  # seconds between two lines


def tracked(items: Iterable[Item], total: int, report: Callable[[str], None] | None, unit: str) -> Iterator[Item]:
    """The items, with a line now and then: ``120 of 3000 images, 0:01:12 left``; none if all is done in 5 seconds.

    Args:
        items: what is worked on, one after the other.
        total: how many there are.
        report: called with each line; None is silent.
        unit: what they are, ``'images'``.
    """
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if report is not None and done and now - last >= INTERVAL:
            left = timedelta(seconds=round((total - done) * (now - start) / done))
            report(f'{done} of {total} {unit}, {left} left')
            last = now
        yield item
