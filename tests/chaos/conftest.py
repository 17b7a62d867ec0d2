"""Tests that need a C compiler are collected where there is one, long ones with CHAOS=full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos import writers
from tests.chaos.knobs import FULL
from tests.crash.forks import Forks
from tests.crash.rounds import MODULES
from tests.harness.faults import compiler
from tests.laws import seeds

collect_ignore = [
    *([] if compiler() else ["test_failing_disk.py", "test_clock_skew.py"]),
    *([] if FULL else ["test_fail_over_of_gateways.py"]),
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    seeds.show()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks(*MODULES, *writers.MODULES) as running:
        yield running
