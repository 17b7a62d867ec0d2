"""Processes that write, seal and die at once leave one sound chain, with every fact in it once."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from time import sleep

from ledger.sealer import seal_here
from ledger.sqlite import SqliteStore
from tests.laws import calls
from tests.laws.seeds import SEED, chance
from tests.seals.houses import checked

ROOT = Path(__file__).resolve().parent.parent.parent
RICH_MILLS = 10**12
TOGETHER_S = 1.0
KILLS = 8
LONGEST_LIFE_S = 0.12


def test_two_sealers_beside_two_writers_leave_one_chain_with_every_fact_in_it(folder: Path) -> None:
    prepare(folder)

    with ExitStack() as running:
        workers = [
            running.enter_context(worker(folder, mode, n)) for n, mode in enumerate(["seal", "seal", "write", "write"])
        ]
        sleep(TOGETHER_S)  # they work for so long; nothing is waited for
        done = [stopped(process) for process in workers]

    with closing(SqliteStore(folder)) as store:
        last = seal_here(store, folder, "", 10**15)
        report = checked(store, folder)
        blocks = store.read_seals(0, 10**6)
    assert report.differences == ()
    assert report.sealed is not None
    assert (report.sealed.blocks, report.sealed.unsealed) == (len(blocks), 0)
    assert done[0] + done[1] + len(last) == len(blocks)
    assert report.open_holds == done[2] + done[3]
    assert min(done) > 0


def test_a_sealer_that_is_killed_at_any_moment_leaves_a_sound_chain(folder: Path) -> None:
    prepare(folder)
    draw = chance("kills")

    with worker(folder, "write", 0) as writer:
        for number in range(KILLS):
            with worker(folder, "seal", number) as sealer:
                sleep(draw.uniform(0, LONGEST_LIFE_S))  # a moment that nobody chose
                sealer.kill()
        stopped(writer)

    with closing(SqliteStore(folder)) as store:
        interrupted = checked(store, folder)
        seal_here(store, folder, "", 10**15)
        finished = checked(store, folder)
    assert (interrupted.differences, finished.differences) == ((), ())
    assert finished.sealed is not None
    assert (finished.sealed.facts, finished.sealed.unsealed) == (finished.facts, 0)


def prepare(folder: Path) -> None:
    with closing(SqliteStore(folder)) as store:
        store.commit([calls.customer(grant=RICH_MILLS)])


def worker(folder: Path, mode: str, number: int) -> subprocess.Popen[str]:
    """A process that has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.seals.worker", str(folder), mode, f"{SEED}:{number}"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def stopped(process: subprocess.Popen[str]) -> int:
    """What it did, once it was told to stop."""
    out, _ = process.communicate("stop\n", timeout=30)
    return int(out)
