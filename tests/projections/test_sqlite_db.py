"""What is true of a file alone."""

from __future__ import annotations

import threading

import pytest

from projections.errors import ProjectionError
from projections.runner import Runner
from projections.sqlite_db import path_in
from tests.projections.house import House


def test_a_damaged_read_model_ends_the_runner_with_what_to_do(house: House) -> None:
    path_in(house.folder).write_bytes(b"no database" * 1000)
    runner = Runner(house.where.place, house.store, house.vault)

    with pytest.raises(ProjectionError, match="replay --fresh"):
        runner.run(threading.Event())
    runner.close()
