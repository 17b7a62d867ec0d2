"""What makes a commit cheap: many rows a statement, and what this process wrote last kept in memory."""

import sqlite3
from collections.abc import Sequence

from domain import streams
from domain.books import Decision, Guard
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled, Fact
from domain.streams import StreamId

ENDINGS = (ChargeSettled, ChargeReleased, ChargeExpired)
MAX_REMEMBERED = 50_000


class Rows:
    """One statement for many rows. Each statement gives the interpreter away once, so a row at a time would hand it to and fro
    between the writer and the event loop hundreds of times a commit.
    """

    SIZES = (64, 16, 4, 1)

    def __init__(self, head: str, row: str, tail: str = "") -> None:
        self._statements = [(size, f"{head} {', '.join([row] * size)} {tail}") for size in self.SIZES]

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[tuple[object, ...]]) -> None:
        start = 0
        for size, statement in self._statements:
            while len(rows) - start >= size:
                cursor.execute(statement, [value for row in rows[start : start + size] for value in row])
                start += size


INSERT_EVENTS = Rows(
    "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES", "(?, ?, ?, ?)"
)
INSERT_BALANCES = Rows(
    "INSERT INTO balances (account, balance, floor) VALUES",
    "(?, ?, ?)",
    # A hold of nothing for somebody unknown has left a row at 0: that is no reason never to register anybody again.
    "ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance",
)
UPSERT_BALANCES = Rows(
    "INSERT INTO balances (account, balance, floor) VALUES",
    "(?, ?, ?)",
    "ON CONFLICT (account) DO UPDATE SET balance = excluded.balance, floor = excluded.floor",
)
PUT_HOLDS = Rows("INSERT INTO holds VALUES", "(?, ?, ?, ?, ?, ?, ?, ?, ?)")
END_HOLDS = Rows("DELETE FROM holds WHERE charge IN (VALUES", "(?)", ")")


class Memory:
    """What this process wrote last and nobody has changed since: guards, and the streams of open charges with their extensions.

    The file's data version tells whether another connection has committed; then everything is forgotten. It is read inside the
    transaction, when no other process can write.
    """

    def __init__(self) -> None:
        self.guards: dict[str, Guard] = {}
        self.open_charges: dict[StreamId, list[Fact]] = {}
        self._data_version = -1

    def check(self, data_version: int) -> bool:
        """False when another connection has committed: then everything is forgotten."""
        if data_version == self._data_version:
            return True
        self.forget()
        self._data_version = data_version
        return False

    def forget(self) -> None:
        self.guards.clear()
        self.open_charges.clear()

    def keep(self, decision: Decision) -> None:
        """After the commit: what it left."""
        if len(self.guards) > MAX_REMEMBERED or len(self.open_charges) > MAX_REMEMBERED:
            self.forget()
        self.guards.update(decision.balances)
        for stream, _, fact in decision.entries:
            if isinstance(fact, ChargeHeld | ChargeExtended):
                self.open_charges[stream] = [fact]
            elif isinstance(fact, ENDINGS):
                self._end(stream)

    def _end(self, charge: StreamId) -> None:
        if self.open_charges.pop(charge, None) is None:
            return
        n = 1
        while self.open_charges.pop(streams.extension(charge, n), None) is not None:
            n += 1
