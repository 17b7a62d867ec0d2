"""Processes are killed while their database comes and goes: every end that was acknowledged is in the ledger once, in the end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from domain.events import (
    ChargeExpired,
    ChargeHeld,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
    Fact,
)
from ledger.epochs import Epoch, end_dead_holds
from ledger.spool import drained_now
from ledger.spool_survey import Survey, survey
from ledger.sqlite import SqliteStore
from ledger.verify import verify
from ledger.writer import Writer
from tests.laws import calls
from tests.laws.seeds import chance

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = int(os.environ.get("SPOOL_CRASH_ROUNDS") or 10)
ROUNDS_PER_LEDGER = 10


@pytest.mark.timeout(60 + 5 * ROUNDS)
def test_killed_processes_lose_no_end_that_was_acknowledged_and_double_none(tmp_path: Path) -> None:
    draw = chance("spool rounds")

    found = [
        life(tmp_path / f"ledger-{first}", min(ROUNDS_PER_LEDGER, ROUNDS - first), draw)
        for first in range(0, ROUNDS, ROUNDS_PER_LEDGER)
    ]

    assert [problem for one in found for problem in one.problems] == []
    assert sum(one.acknowledged for one in found) > 10 * ROUNDS
    assert sum(one.spooled for one in found) > 0


class Found(NamedTuple):
    problems: list[str]
    acknowledged: int
    spooled: int
    """Records that were in the spool's files when a process had been killed."""


def life(folder: Path, rounds: int, draw: random.Random) -> Found:
    """Kill so many processes on one ledger, two at a time, and let a last one see what they left."""
    store = SqliteStore(folder, synchronous="NORMAL")
    store.commit([calls.customer(grant=10**12)])
    lines: list[str] = []
    spooled = 0
    older = Dying(folder, f"{draw.random()}")
    try:
        for _ in range(rounds):
            younger = Dying(folder, f"{draw.random()}")
            lines += older.killed(draw.uniform(0, 0.5))
            older = younger
            spooled += sum(file.records for file in survey(folder / "spool").files)
    finally:
        lines += older.killed(0)
    problems = checked(store, lines, reaps_first=draw.random() < 0.5)
    store.close()
    return Found(problems, len(lines), spooled)


class Dying:
    def __init__(self, folder: Path, seed: str) -> None:
        command = [sys.executable, "-m", "tests.ledger_spool.dying", str(folder), seed]
        self.lines: list[str] = []
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._loaded = threading.Event()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def killed(self, after_s: float) -> list[str]:
        """SIGKILL it some time after its first acknowledgement; all of them."""
        self._loaded.wait(30)
        time.sleep(after_s)  # the moment is what is drawn
        assert self._process.poll() is None, self._process.stderr and self._process.stderr.read().decode()
        self._process.kill()
        self._process.wait(10)
        self._reading.join(10)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None, "it was started with pipes"
            pipe.close()
        return self.lines

    def _read(self) -> None:
        assert self._process.stdout is not None, "it was started with a pipe"
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # the kill may have cut the last one
                self.lines.append(line.decode())
                self._loaded.set()
        self._loaded.set()


def checked(store: SqliteStore, lines: list[str], *, reaps_first: bool) -> list[str]:
    writer, epoch = Writer(store), Epoch(store.folder, "last")
    if reaps_first:
        end_dead_holds(store, writer, epoch)
    drained_now(store.folder / "spool", writer)
    end_dead_holds(store, writer, epoch)
    writer.close()
    epoch.close()
    problems = [str(difference) for difference in verify(store).differences]
    problems += left(survey(store.folder / "spool"))
    for line in lines:
        kind, charge, *amounts = line.split()
        facts = [recorded.fact for recorded in store.read_stream(charge)]
        if not stands(kind, [int(amount) for amount in amounts], facts):
            problems.append(f"{line.strip()}: {facts[1:]}")
    return problems


def left(found: Survey) -> list[str]:
    problems = [f"a file is left: {file}" for file in found.files]
    problems += [f"set aside: {name}" for name in found.set_aside]
    return problems + ([f"{found.refused} records were refused"] if found.refused else [])


def stands(kind: str, amounts: list[int], facts: list[Fact]) -> bool:
    match kind, facts:
        case "settled", [ChargeHeld(), ChargeSettled(cost=cost)]:
            return amounts == [cost]
        case "settled", [ChargeHeld(), ChargeExpired(), ChargeSettledLate(cost=cost)]:
            return amounts == [cost]
        case "released", [ChargeHeld(), ChargeReleased() | ChargeExpired()]:
            return True
    return False
