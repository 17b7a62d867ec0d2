"""A ledger in a folder of the test's own, its writer, and the seed of what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.sqlite import SqliteStore
from ledger.writer import Writer
from tests.laws import seeds


@pytest.fixture(autouse=True)
def _seed() -> None:
    seeds.show()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def writer(store: SqliteStore) -> Iterator[Writer]:
    running = Writer(store)
    yield running
    running.close()
