"""A ledger of the test's own, in a file and on a server, and processes that race on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.harness.postgres import shared_server
from tests.laws import seeds
from tests.ledger.places import FilePlace, Place, ServerPlace, Store
from tests.money.racers import Racers

SCHEMAS = count(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    seeds.show()


@pytest.fixture(scope="session")
def racers() -> Iterator[Racers]:
    running = Racers()
    yield running
    running.close()


@pytest.fixture(params=["in_file", "on_server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where the ledger is: what is said of it holds for both."""
    if request.param == "in_file":
        yield FilePlace(tmp_path / "data")
        return
    server = ServerPlace(shared_server().dsn(), f"money_{next(SCHEMAS)}")
    yield server
    server.drop()


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = place.open()
    yield opened
    opened.close()
