"""What rounds of every kind are made of: a worker process under load, a check by another process, and what a round came to."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.crash import checking
from tests.crash.forks import Fork, Forks
from tests.crash.where import Where
from tests.harness.waiting import eventually

CHECK_WITHIN_S = 60
MODULES = ("tests.crash.worker", "tests.crash.checking")


class Round(NamedTuple):
    """What one round came to."""

    kind: str
    what: str
    """Who was killed, or that everything so far was checked."""
    number: int
    acknowledged: int
    """What was told since the round before."""
    found: checking.Found

    def __str__(self) -> str:
        found = self.found
        return (
            f"{self.kind} round {self.number}, {self.what}: {found.checked} acknowledgements, {found.facts} facts, "
            f"{found.ended} holds ended, {found.open} open in living processes, {len(found.problems)} problems"
        )


class Worker:
    """One worker process, and what it has acknowledged so far."""

    def __init__(self, forks: Forks, place: Where, seed: str) -> None:
        self.lines: list[str] = []
        self._taken = 0
        self._forks = forks
        self._loaded = threading.Event()
        self._process: Fork = forks.start("tests.crash.worker", place.told(), seed)
        self._reading = threading.Thread(target=self._read, name="acknowledgements")
        self._reading.start()

    def wait_until_loaded(self) -> None:
        """Return once it has acknowledged something of its own, or has ended."""
        self._loaded.wait(CHECK_WITHIN_S)

    def wait_for_more(self, count: int) -> None:
        """Return once it has acknowledged so much more than now."""
        wanted = len(self.lines) + count

        def told() -> int:
            assert not self._process.ended(0), f"a worker ended by itself: {self._forks.errors()}"
            return len(self.lines)

        eventually(told, lambda lines: lines >= wanted, within_s=CHECK_WITHIN_S, every_s=0.01)

    def rest(self, seconds: float) -> None:
        """Leave it alone for so long. It goes on."""
        assert not self._process.ended(seconds), f"a worker ended by itself: {self._forks.errors()}"

    def taken(self) -> list[str]:
        """What it has acknowledged since this was asked last."""
        fresh = self.lines[self._taken :]
        self._taken += len(fresh)
        return fresh

    def kill(self, after_s: float) -> list[str]:
        """SIGKILL it `after_s` from now; every acknowledgement that it had written by then."""
        self.rest(after_s)
        self.close()
        return self.lines

    def close(self) -> None:
        """SIGKILL, and no question whether it lived."""
        self._process.kill()
        self._reading.join(10)
        self._process.close()

    def frozen_copy(self, folder: Path, copy: Path) -> list[str]:
        """Stop it where it is, copy the ledger's files as a power cut would leave them, and let it go on.

        Answers what it had acknowledged before it was stopped.
        """
        acknowledged = list(self.lines)
        self._process.send_signal(signal.SIGSTOP)
        try:
            copy.mkdir()
            for name in ("ledger.db", "ledger.db-wal", "secret.key"):
                if (folder / name).exists():
                    shutil.copyfile(folder / name, copy / name)
        finally:
            self._process.send_signal(signal.SIGCONT)
        return acknowledged

    def _read(self) -> None:
        for line in self._process.out:
            if line.endswith(b"\n"):  # the kill may have cut the last one; a whole line was an acknowledgement
                self.lines.append(line.decode())
            if len(self.lines) > 1:
                self._loaded.set()
        self._loaded.set()


def check(forks: Forks, place: Where, lines: Iterable[str]) -> checking.Found:
    """Let a new process open the ledger and compare."""
    with tempfile.NamedTemporaryFile("w", prefix="acknowledged-") as file:
        file.writelines(lines)
        file.flush()
        process = forks.start("tests.crash.checking", place.told(), file.name)
        try:
            said = process.out.read()
        finally:
            process.close()
    assert said, f"the check itself failed:\n{forks.errors()}"
    return msgspec.json.decode(said, type=checking.Found)
