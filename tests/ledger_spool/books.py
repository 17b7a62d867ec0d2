"""What these tests put into a ledger and read from it, past the faults of its store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from domain.commands import Command
from domain.events import Fact
from ledger.sqlite import SqliteStore
from tests.laws import calls
from tests.ledger_spool.faulty import FaultyStore


def commit(store: FaultyStore, *commands: Command) -> list[str]:
    """Commit as another process does, for which the database is not away."""
    other = SqliteStore(store.folder)
    try:
        return [result.status for result in other.commit(commands)]
    finally:
        other.close()


def held(store: FaultyStore, count: int, mills: int = 1_000) -> None:
    """Open holds of the calls 0 to `count`."""
    assert set(commit(store, *(calls.hold(mills, calls.charge(n)) for n in range(count)))) == {"created"}


def ends(store: FaultyStore, number: int) -> list[type[Fact]]:
    """The facts of a call after its hold."""
    return [type(recorded.fact) for recorded in store.read_stream(calls.charge(number))][1:]


class Flushes:
    """Counts what is flushed to the disk, and can hold it up."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error: OSError | None = None
        real = os.fdatasync

        def counted(fd: int) -> None:
            self.count += 1
            assert self.goes_on.wait(10), "a test lets its disk go on"
            if self.error is not None:
                raise self.error
            real(fd)

        patch.setattr(os, "fdatasync", counted)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        self.goes_on.clear()
        try:
            yield
        finally:
            self.goes_on.set()
