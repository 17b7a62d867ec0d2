"""A house in a folder of the test's own, and the read model over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.readmodel import ReadModel
from tests.projections.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = House(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def read(house: House) -> Iterator[ReadModel]:
    """Nobody folds here, so `await_head` does."""
    opened = ReadModel(house.folder, house.store, house.vault)
    yield opened
    opened.close()
