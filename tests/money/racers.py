"""Five processes that race on a ledger whenever a test says so. They start once: a start costs more than most races."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.ledger.places import Place
from tests.money.racer import Item

ROOT = Path(__file__).parents[2]
PROCESSES = 5


class Racers:
    """`race` gives each process its share of the work; all begin at the same moment."""

    def __init__(self) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.money.racer"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(PROCESSES)
        ]

    def begin(self, place: Place, *shares: Sequence[Item]) -> None:
        """Let as many processes as there are shares begin, and do not wait for them."""
        assert len(shares) <= PROCESSES, f"there are {PROCESSES} processes"
        self._busy = self._processes[: len(shares)]
        for process, share in zip(self._busy, shares, strict=True):
            self._say(process, json.dumps({"told": place.told(), "items": list(share)}))
        for process in self._busy:
            assert self._hear(process) == "ready"
        for process in self._busy:
            self._say(process, "go")

    def end(self) -> Counter[str]:
        """What all of them together were answered."""
        return sum((Counter(json.loads(self._hear(process))) for process in self._busy), Counter[str]())

    def race(self, place: Place, *shares: Sequence[Item]) -> Counter[str]:
        self.begin(place, *shares)
        return self.end()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate(timeout=10)

    def _say(self, process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None, "it was opened with a pipe"
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def _hear(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None, "it was opened with a pipe"
        line = process.stdout.readline().strip()
        assert line, "a racer died"
        return line
