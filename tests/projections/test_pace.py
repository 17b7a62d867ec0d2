"""Work that can wait gives way, and ends when nobody waits for it any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from projections.pace import Pace, Stopped

ROOT = Path(__file__).parent.parent.parent


def test_what_is_done_gently_gives_way_and_the_rest_of_the_process_does_not() -> None:
    before = os.sched_getscheduler(0)

    found = Pace(idle=True).gently(lambda: os.sched_getscheduler(0))

    assert (found, os.sched_getscheduler(0)) == (os.SCHED_IDLE, before)


def test_an_interruption_ends_the_work_at_its_next_rest() -> None:
    pace = Pace(pause_s=60, idle=True)
    ended: list[BaseException] = []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # to the thread that waits
        try:
            pace.rest()
        except Stopped as error:
            ended.append(error)

    with pytest.raises(KeyboardInterrupt):
        pace.gently(work)

    assert len(ended) == 1


def test_memory_is_measured_at_its_peak() -> None:
    code = "from projections.pace import peak_mb; b'x' * 100_000_000; print(peak_mb())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    assert 100 < float(done.stdout) < 250
