"""A lock among the processes of one machine: it is its process's, and dies with it."""

import fcntl
import os
from pathlib import Path
from time import monotonic, sleep


class FileLock:
    """Not for two threads at once: each takes one of its own."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """True when it is ours now; never waits."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take_within(self, timeout_s: float, period_s: float = 0.02) -> bool:
        deadline = monotonic() + timeout_s
        while not self.take():
            if monotonic() >= deadline:
                return False
            sleep(period_s)
        return True

    def is_taken(self) -> bool:
        """True while another holds it. Those who only look do not see each other."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def release(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)
