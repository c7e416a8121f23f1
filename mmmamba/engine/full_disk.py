"""What a disk without space says, and what a run does about it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full(error: OSError) -> bool:
    """Whether an error says that there is no space, or no quota, for a file."""
    return error.errno in FULL


@contextmanager
def going_on_without(what: str, logger: Logger) -> Iterator[None]:
    """Report that something cannot be written for want of space, and go on; any other error is raised.

    Args:
        what: name of the file or folder, for the report.
        logger: of the run.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        logger.error(f'{error.filename or what!r} cannot be written ({os.strerror(error.errno)}); the run goes on')
