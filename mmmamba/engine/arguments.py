"""What the tools' command lines have in common: types that refuse a value in one line."""

import argparse

import torch


def positive(text: str) -> int:
    """``type=positive``: a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above 0')
    return int(text)


def device(text: str) -> torch.device:
    """``type=device``: the CPU or a GPU of this machine."""
    try:
        found = torch.device(text)
    except RuntimeError:
        found = None
    if found is None or found.type not in ('cpu', 'cuda'):
        raise argparse.ArgumentTypeError(f'{text!r} is not cpu, cuda, cuda:1 ...')
    if found.type == 'cuda' and (found.index or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(
            f'{text!r}: this machine has {torch.cuda.device_count() or "no"} CUDA devices; run with --device cpu'
        )
    return found
