"""Rounds of `kill -9` on processes that write one ledger.

Two workers are under load at any time. Each round kills the older one at a random moment, lets a new process check the ledger
while the younger one goes on, and starts another. What was acknowledged must be there, once, with what was paid.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.crash import checking, worker
from tests.harness.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS_PER_LEDGER = 10
"""Then a new one is begun, so that a thousand rounds do not read one ever longer log a thousand times."""
CHECK_WITHIN_S = 60
MAX_LOAD_S = 0.4


class Round(NamedTuple):
    """What one round came to."""

    what: str
    """`ledger` or `gateway`, or that everything so far was checked."""
    number: int
    acknowledged: int
    """What was told before this kill."""
    found: checking.Found

    def __str__(self) -> str:
        found = self.found
        return (
            f"{self.what} round {self.number}: {found.checked} acknowledgements, {found.facts} facts, {found.ended} holds "
            f"ended, {found.open} open in living processes, {len(found.problems)} problems"
        )


class Worker:
    """One worker process, and what it has acknowledged so far."""

    def __init__(self, folder: Path, seed: str) -> None:
        command = [sys.executable, "-m", "tests.crash.worker", str(folder), seed]
        self.lines: list[str] = []
        self.seed = seed
        self._loaded = threading.Event()
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def wait_until_loaded(self) -> None:
        """Return once it has acknowledged something of its own, or has ended."""
        self._loaded.wait(CHECK_WITHIN_S)

    def wait_for_more(self, count: int) -> None:
        """Return once it has acknowledged so much more than now."""
        wanted = len(self.lines) + count
        eventually(lambda: len(self.lines), lambda told: told >= wanted, within_s=CHECK_WITHIN_S)

    def kill(self, after_s: float) -> list[str]:
        """SIGKILL it `after_s` from now; every acknowledgement that it had written by then."""
        assert not self._ended(after_s), f"a worker ended by itself: {self._errors()}"
        self._process.kill()
        self._process.wait(10)
        self._reading.join(10)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None, "it was started with pipes"
            pipe.close()
        return self.lines

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

    def _ended(self, within_s: float) -> bool:
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read(self) -> None:
        assert self._process.stdout is not None, "it was started with a pipe"
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # the kill may have cut the last one; a whole line was an acknowledgement
                self.lines.append(line.decode())
            if len(self.lines) > 1:
                self._loaded.set()
        self._loaded.set()

    def _errors(self) -> str:
        assert self._process.stderr is not None, "it was started with a pipe"
        return self._process.stderr.read().decode()


def rounds(folder: Path, count: int, draw: random.Random) -> Iterator[Round]:
    """Kill `count` workers, one a round."""
    for first in range(0, count, ROUNDS_PER_LEDGER):
        ledger = folder / f"ledger-{first}"
        worker.prepare(ledger)
        yield from life(ledger, range(first, min(count, first + ROUNDS_PER_LEDGER)), draw)


def life(folder: Path, numbers: range, draw: random.Random) -> Iterator[Round]:
    """The rounds of one ledger, and at its end a check of all that was ever acknowledged."""
    lines: list[str] = []
    older = Worker(folder, f"{draw.random()}")
    try:
        for number in numbers:
            younger = Worker(folder, f"{draw.random()}")
            is_early = draw.random() < 0.15
            if not is_early:
                older.wait_until_loaded()
            killed = older.kill(draw.uniform(0, MAX_LOAD_S))
            older = younger
            lines += killed
            yield Round("ledger", number, len(killed), check(folder, killed))
    finally:
        lines += older.kill(0)
    yield Round("ledger, all since it was made, after", numbers[-1], 0, check(folder, lines))


def check(folder: Path, lines: list[str]) -> checking.Found:
    """Let a new process open the ledger and compare."""
    command = [sys.executable, "-m", "tests.crash.checking", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, input="".join(lines), capture_output=True, text=True, timeout=CHECK_WITHIN_S, check=False
    )
    assert done.returncode == 0, f"the check itself failed:\n{done.stderr}"
    return msgspec.json.decode(done.stdout, type=checking.Found)
