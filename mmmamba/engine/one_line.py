"""Which errors a user can mend, and the line that is all the tools print of one."""

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mmmamba
from mmmamba.engine.full_disk import is_full
from mmmamba.errors import UserError

PACKAGE = Path(mmmamba.__file__).parent
BLOCKED_PATH = (FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print errors that a user can mend as one line and exit with 1; any other keeps its traceback."""
    try:
        yield
    except Exception as error:
        line = _line(error)
        if line is None:
            raise
        sys.exit(f'error: {line}')


def _line(error: Exception) -> str | None:
    text = str(error)
    if isinstance(error, UserError):
        # One raised by a worker of a data loader arrives with the worker's traceback as its message.
        return re.sub(r'Caught .* in DataLoader worker .*\n[\w.]+Error: ', '', text, flags=re.DOTALL).rstrip()
    if isinstance(error, OSError) and is_full(error):
        return f'{error.strerror}: {error.filename or "a file of the run"}; free space, then go on with --resume'
    if isinstance(error, BLOCKED_PATH) and error.filename is not None:
        return f'{error.strerror}: {str(error.filename)!r} is in the way of what is to be written; name another path'
    if isinstance(error, KeyError) and (unknown := re.search(r'([\w.]+) is not in the \S+ registry', text)):
        return (
            f"{unknown[1]!r} is not registered; write 'mmmamba.{unknown[1]}' for a member of mmmamba, "
            "'mmdet.', 'mmseg.' or 'mmpretrain.' before one of another library, and name the module that registers "
            "your own: custom_imports=dict(imports=['my_package.my_module'])"
        )
    if isinstance(error, TypeError) and (wrong := re.fullmatch(r'(\w+)\.__init__\(\) ((got an|missing) .*)', text)):
        return f'{wrong[1]} {wrong[2]}; correct dict(type={wrong[1]!r}, ...) in the config or --cfg-options'
    if isinstance(error, ValueError) and _is_raised_here(error):
        return text
    return None


def _is_raised_here(error: Exception) -> bool:
    """Whether a ``raise`` of this package made it: these are for users, and developers get ``assert``."""
    origin = traceback.extract_tb(error.__traceback__)[-1]
    return PACKAGE in Path(origin.filename).parents and (origin.line or '').startswith('raise ')
