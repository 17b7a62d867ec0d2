"""A sealed ledger in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.sqlite import SqliteStore
from tests.laws import seeds
from tests.seals.houses import filled


@pytest.fixture(autouse=True)
def _seed() -> None:
    seeds.show()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def empty(folder: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(folder)
    yield opened
    opened.close()


@pytest.fixture
def store(empty: SqliteStore, folder: Path) -> SqliteStore:
    filled(empty, folder)
    return empty
