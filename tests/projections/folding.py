"""Who folds in a test: a runner in a thread of this process, or somebody who has the seat and does nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from projections.places import database_at
from projections.runner import Runner
from tests.projections.house import House


@contextmanager
def running(house: House) -> Iterator[None]:
    """A runner in a thread of this process."""
    stop = threading.Event()
    runner = Runner(house.where.place, house.store, house.vault)
    thread = threading.Thread(target=runner.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        runner.close()


@contextmanager
def slow_folder(house: House) -> Iterator[None]:
    """Somebody has the seat, and does nothing."""
    database = database_at(house.where.place)
    seat = database.seat()
    assert seat.take() is not None
    try:
        yield
    finally:
        seat.close()
        database.close()
