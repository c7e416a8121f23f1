"""Where an interrupted run left off."""

import re
import zipfile
from pathlib import Path


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest whole checkpoint ``epoch_N.pth`` or ``iter_N.pth`` of a work directory.

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
        if match and zipfile.is_zipfile(path):  # the directory of a zip is at its end: cut off, it is none
            found[path] = (path.stat().st_mtime_ns, int(match[2]))
    return max(found, key=found.get, default=None)
