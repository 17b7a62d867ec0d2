"""Sites for the tests of the JSON API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.house import House, Person


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A site of this test's own, with its root account logged in."""
    site = House(tmp_path / "data").with_root()
    yield site
    site.close()


@pytest.fixture(scope="module")
def quiet_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A site for the tests of one file that find their requests refused, and the ledger as it was."""
    site = House(tmp_path_factory.mktemp("quiet") / "data").with_root()
    yield site
    site.close()


@pytest.fixture(scope="module")
def quiet_customer(quiet_house: House) -> Person:
    """A user of that site with ten quota."""
    return quiet_house.user(quota=10)


@pytest.fixture
def empty_house(tmp_path: Path) -> Iterator[House]:
    """A site on an empty store, that nobody owns yet."""
    site = House(tmp_path / "data")
    yield site
    site.close()
