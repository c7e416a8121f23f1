"""A checkpoint for others: the weights and what is needed to use them, named by its content."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from mmmamba.checkpoints.files import CheckpointError, load_file

SAVE_KEYS = ('meta', 'state_dict')


def publish(
    in_file: str | Path, out_file: str | Path, *, save_keys: Sequence[str] = SAVE_KEYS, use_ema: bool = True
) -> tuple[Path, list[str]]:
    """Keep some entries of a checkpoint and put the start of its sha256 into its name.

    Args:
        in_file: a checkpoint of a run.
        out_file: ``DIR/NAME.pth``, which becomes ``DIR/NAME-1a2b3c4d.pth``.
        save_keys: the entries to keep.
        use_ema: of a run with a moving average, keep that, which mmengine stores as ``state_dict``; False takes the
            weights it was made from.

    Returns:
        The file, and the entries that were left out.

    Raises:
        CheckpointError: if the file cannot be read, or has no weights, or no others than the average.
    """
    checkpoint = load_file(in_file)
    if not use_ema:
        if 'ema_state_dict' not in checkpoint:
            raise CheckpointError(f'checkpoint {str(in_file)!r} has no moving average, so there is nothing to choose')
        raw = checkpoint['ema_state_dict']
        checkpoint['state_dict'] = {k.removeprefix('module.'): v for k, v in raw.items() if k != 'steps'}
    if 'state_dict' not in checkpoint:
        raise CheckpointError(
            f'checkpoint {str(in_file)!r} has no state_dict; it has {sorted(map(str, checkpoint))[:8]}'
        )
    kept = {key: checkpoint[key] for key in checkpoint if key in save_keys}
    out_file = Path(out_file)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    part = out_file.with_name(f'{out_file.name}.part')
    try:
        torch.save(kept, part)
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        final = out_file.with_name(f'{out_file.name.removesuffix(".pth")}-{digest[:8]}.pth')
        os.replace(part, final)
    finally:
        part.unlink(missing_ok=True)
    return final, [str(key) for key in checkpoint if key not in kept]
