"""A house in a folder of the test's own, and the read model over it: in a file, or on a server where a module asks for both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from projections.readmodel import ReadModel
from tests.projections.house import House
from tests.projections.whereabouts import Where, whereabouts


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Where]:
    """Where read models are. A module that says `pytestmark = ON_BOTH` is run on both databases."""
    with whereabouts(getattr(request, "param", "sqlite"), tmp_path / "data") as found:
        yield found


@pytest.fixture
def house(where: Where) -> Iterator[House]:
    opened = House(where.folder, where)
    yield opened
    opened.close()


@pytest.fixture
def read(house: House) -> Iterator[ReadModel]:
    """Nobody folds here, so `await_head` does."""
    opened = ReadModel(house.where.place, house.store, house.vault)
    yield opened
    opened.close()
