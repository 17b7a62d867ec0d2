"""What a decision leaves in the tables of the embedded store, a statement for each table however many rows there are."""

import sqlite3
from itertools import chain

from domain.books import Decision
from domain.events import ChargeExtended, ChargeHeld
from domain.streams import StreamId
from ledger.mapper import encode
from ledger.sqlite_memory import ENDINGS


class Rows:
    """One statement for many rows: a statement gives the interpreter away several times, so a row at a time would hand it to and
    fro between the writer and the event loop hundreds of times a commit.

    Statements are prepared for a few numbers of rows. What is missing to the next of them is filled with NULL, and left out.
    """

    SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)

    def __init__(self, head: str, columns: int, tail: str = "") -> None:
        self._columns = columns
        self._statements: list[tuple[int, str]] = []
        """By the number of rows: how many values there are to be, and the statement."""
        row = f"({', '.join('?' * columns)})"
        for size in self.SIZES:
            values = f"VALUES {', '.join([row] * size)}"
            rows = values if size == 1 else f"SELECT * FROM ({values}) WHERE column1 IS NOT NULL"
            while len(self._statements) <= size:
                self._statements.append((size * columns, f"{head} {rows} {tail}"))

    def run(self, cursor: sqlite3.Cursor, values: list[object]) -> None:
        """`values` has those of the first row, then those of the second; the first of a row is never NULL."""
        most = self.SIZES[-1] * self._columns
        while len(values) > most:
            self.run(cursor, values[:most])
            values = values[most:]
        if values:
            size, statement = self._statements[len(values) // self._columns]
            cursor.execute(statement, values + [None] * (size - len(values)))


INSERT_EVENTS = Rows("INSERT INTO stored_events (originator_id, originator_version, topic, state)", 4)
INSERT_BALANCES = Rows(
    "INSERT INTO balances (account, balance, floor)",
    3,
    # A hold of nothing for somebody unknown has left a row at 0: that is no reason never to register anybody again.
    "ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance",
)
UPSERT_BALANCES = Rows(
    "INSERT INTO balances (account, balance, floor)",
    3,
    "ON CONFLICT (account) DO UPDATE SET balance = excluded.balance, floor = excluded.floor",
)
PUT_HOLDS = Rows("INSERT INTO holds", 9)
END_HOLDS = Rows("DELETE FROM holds WHERE charge IN (", 1, ")")
GROW_HOLD_SQL = "UPDATE holds SET amount = amount + ?, extensions = ? WHERE charge = ?"


def write(cursor: sqlite3.Cursor, decision: Decision, loaded: set[str]) -> None:
    """Write what was decided on the balances of `loaded` accounts, in the transaction that is open."""
    _write_facts(cursor, decision)
    known: list[object] = []
    fresh: list[object] = []
    for account, (balance, floor) in decision.balances.items():
        # Other accounts are those of an id that was assigned in this batch: nobody can have had them before.
        (known if account in loaded else fresh).extend((account, balance, floor))
    UPSERT_BALANCES.run(cursor, known)
    INSERT_BALANCES.run(cursor, fresh)


def _write_facts(cursor: sqlite3.Cursor, decision: Decision) -> None:
    """The facts, and the holds that they begin, extend and end."""
    events: list[object] = []
    put: dict[StreamId, tuple[object, ...]] = {}
    grown: list[tuple[int, int, StreamId]] = []
    ended: list[object] = []
    for stream, version, fact in decision.entries:
        events.extend((stream, version, fact.TOPIC, encode(fact)))
        if isinstance(fact, ChargeHeld):
            hold = (fact.user, fact.key, fact.capped, fact.amount, 0, fact.node, fact.epoch, fact.deadline)
            put[stream] = (stream, *hold)
        elif type(fact) in ENDINGS:
            if put.pop(stream, None) is None:
                ended.append(stream)
        elif isinstance(fact, ChargeExtended):
            grown.append((fact.amount, fact.n, fact.charge))
    INSERT_EVENTS.run(cursor, events)
    PUT_HOLDS.run(cursor, list(chain.from_iterable(put.values())))
    for growth in grown:
        cursor.execute(GROW_HOLD_SQL, growth)
    END_HOLDS.run(cursor, ended)
