"""Where an interrupted run left off."""

import logging
import re
import zipfile
from pathlib import Path

from mmengine.logging import print_log


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest whole checkpoint ``epoch_N.pth`` or ``iter_N.pth`` of a work directory; the log names torn ones.

    mmengine notes its name in ``last_checkpoint``, a file that a kill can leave empty and a moved folder makes wrong;
    the checkpoints themselves tell as well.

    Args:
        work_dir: as ``--work-dir`` gives it.

    Returns:
        Its path; None if there is none.
    """
    found = {}
    for path in Path(work_dir).glob('*.pth'):
        match = re.fullmatch(r'(epoch|iter)_(\d+)\.pth', path.name)
        if match and path.is_file():
            found[path] = (path.stat().st_mtime_ns, int(match[2]))
    for path in sorted(found, key=found.get, reverse=True):
        if _is_whole(path):
            return path
        print_log(
            f'checkpoint {str(path)!r} is torn: it is passed over, and the one before it is taken',
            logger='current',
            level=logging.WARNING,
        )
    return None


def _is_whole(path: Path) -> bool:
    """Whether the directory at the end of the zip is there, and what it lists has the checksums it should have."""
    try:
        with zipfile.ZipFile(path) as content:
            return content.testzip() is None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError):  # whichever byte is wrong
        return False
