"""A database that is away, or loses its answers, as a test says: a real store behind faults."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from domain.books import Result
from domain.commands import Command
from ledger.errors import LedgerUnavailable
from ledger.sqlite import SqliteStore

Fault = Literal["", "away", "lost"]
HANG_LIMIT_S = 30


class FaultyStore(SqliteStore):
    """A SqliteStore. `away`: nothing is committed; `lost`: it is committed, and the answer does not come."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, synchronous="NORMAL")
        self.fault: Fault = ""
        self.plan: deque[Fault] = deque()
        """Faults of the next commits, before `fault` is looked at."""
        self.goes_on = threading.Event()
        """Cleared: a commit hangs until it is set."""
        self.goes_on.set()
        self.committed: list[Command] = []

    def commit(self, batch: Sequence[Command]) -> list[Result]:
        assert self.goes_on.wait(HANG_LIMIT_S), "a test lets its database go on"
        fault = self.plan.popleft() if self.plan else self.fault
        if fault == "away":
            raise LedgerUnavailable("the database is away, says the test")
        results = super().commit(batch)
        self.committed += batch
        if fault == "lost":
            raise LedgerUnavailable("the database took it and went away, says the test")
        return results
