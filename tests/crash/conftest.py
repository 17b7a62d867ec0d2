"""What is drawn here is drawn from one seed, which a failure shows."""

from __future__ import annotations

import pytest

from tests.laws import seeds


@pytest.fixture(autouse=True)
def _seed() -> None:
    seeds.show()
