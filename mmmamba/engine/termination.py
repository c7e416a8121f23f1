"""SIGTERM, with which SLURM and other schedulers announce that they take the machine back."""

import signal
import threading
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM  # what a shell reports of a process that the signal ended


class Termination:
    """``with Termination() as termination:`` notes a SIGTERM in ``termination.requested`` instead of dying of it."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> 'Termination':
        self._listens = threading.current_thread() is threading.main_thread()  # Python allows handlers there alone
        if self._listens:
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
