"""What is drawn here is drawn from one seed, which a failure shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.forks import Forks
from tests.crash.rounds import MODULES
from tests.laws import seeds


@pytest.fixture(autouse=True)
def _seed() -> None:
    seeds.show()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks(*MODULES) as running:
        yield running
