"""A ledger of the test's own, in a file and on a server, its writer, and the seed of what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ledger.writer import Writer
from tests.harness.postgres import Server, shared_server
from tests.laws import seeds
from tests.ledger.places import FilePlace, Place, ServerPlace, Store

SCHEMAS = count(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    seeds.show()


@pytest.fixture
def server() -> Server:
    """The PostgreSQL that the tests of a process share; it is not stopped, and its databases are the tests'."""
    return shared_server()


@pytest.fixture
def tcp_server() -> Server:
    """The same on a port."""
    return shared_server(tcp=True)


@pytest.fixture
def on_server(server: Server) -> Iterator[ServerPlace]:
    """A ledger on a server, in a schema of this test's own."""
    place = ServerPlace(server.dsn(), f"test_{next(SCHEMAS)}")
    yield place
    place.drop()


@pytest.fixture
def in_file(tmp_path: Path) -> FilePlace:
    """An embedded ledger, in a folder of this test's own."""
    return FilePlace(tmp_path / "data")


@pytest.fixture(params=["in_file", "on_server"])
def place(request: pytest.FixtureRequest) -> Place:
    """Either: what is said of it holds for both."""
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = place.open()
    yield opened
    opened.close()


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    running = Writer(store)
    yield running
    running.close()
