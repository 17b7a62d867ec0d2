"""What the database of the read models offers, whichever it is, and the seams between it and what is folded and asked.

SQL is written once, in the file that owns the table, in a portable form: `?` for values, AMOUNT for exact sums of mills, what
differs between databases by way of the `Dialect`. No reader ever sees half of a fold, or two read models at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Value = int | str | None
Row = tuple[Any, ...]
"""As a database gives it: whoever selects knows the types of the columns."""

POSITIONS_DDL = (
    "CREATE TABLE IF NOT EXISTS positions (name TEXT PRIMARY KEY, position INTEGER NOT NULL, tables TEXT NOT NULL)"
)
"""The event-sourcing library has a tracking table; it stays in `ledger` with the rest of the library, by contract."""
CHUNK_ROWS = 1000


class Dialect(Protocol):
    """Where the databases differ. Conditions hold as many `?` as they say, one if they say nothing."""

    def ddl(self, statement: str) -> str:
        """A portable statement that makes a table or an index, for this database."""
        ...

    def among(self, column: str) -> str:
        """True where a column is one of the values in `values_of`."""
        ...

    def values_of(self, values: Iterable[int] | Iterable[str]) -> str:
        """A set of values as one parameter, for `among`."""
        ...

    def among_rows(self, columns: str, texts: Iterable[str] = ()) -> str:
        """True where columns, such as `a, b`, are one of the rows in `rows_of`. Those named in `texts` are TEXT."""
        ...

    def rows_of(self, rows: Iterable[tuple[int | str, ...]]) -> str:
        """A set of rows as one parameter, for `among_rows`."""
        ...

    def like(self, column: str, *, escaped: bool) -> str:
        """SQL's LIKE: `%` and `_` are code points, A and a are the same, other letters are not. A backslash escapes, or not."""
        ...

    def ids_named(self, table: str, column: str) -> str:
        """Selects the ids of rows whose name in a column is `?`, by the index on LEADING(column)."""
        ...

    def listed_in(self, column: str) -> str:
        """True where `?` is an item of the JSON array of texts in a column."""
        ...

    def sums(self, column: str) -> str:
        """Expressions over the rows of a query, three of them, from which `total` makes the exact sum."""
        ...

    def total(self, found: Sequence[Any]) -> int:
        """The exact sum, which may pass 2^63, from what `sums` selected."""
        ...


class Rows(Protocol):
    """What a query found."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Reader(Protocol):
    """One moment of a read model."""

    @property
    def dialect(self) -> Dialect: ...

    def execute(self, sql: str, values: Sequence[Value] = (), /) -> Rows: ...

    def chunks(self, sql: str, /) -> Iterator[list[Row]]:
        """What a query finds, a thousand rows at a time, however many there are."""
        ...


class Cursor(Protocol):
    """Writes within one transaction."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def rowcount(self) -> int: ...

    def execute(self, sql: str, values: Sequence[Value] = (), /) -> Rows: ...

    def executemany(self, sql: str, rows: Sequence[Sequence[Value]], /) -> object:
        """Carry out one `INSERT INTO table (columns) VALUES (?, ...)`, whatever follows, for all rows at once."""
        ...


class Folder(Protocol):
    """A connection that writes a read model. One thread uses it."""

    @property
    def dialect(self) -> Dialect: ...

    def transaction(self) -> AbstractContextManager[Cursor]:
        """All or nothing, rows and positions alike."""
        ...

    def reading(self) -> AbstractContextManager[Reader]:
        """What was written so far, read by the writer."""
        ...

    def close(self) -> None: ...


class Seat(Protocol):
    """The right to fold: one process of all has it, and loses it with its life, or with its connection."""

    def take(self) -> Folder | None:
        """None while another has it, or a replay asks for it. Never waits."""
        ...

    def is_wanted(self) -> bool:
        """True when a replay asks for the seat, or the read model is not the one any more that was opened."""
        ...

    def release(self) -> None: ...

    def close(self) -> None: ...


class Beside(Protocol):
    """A read model that is built beside the live one. It outlives its builder: another goes on where that one was."""

    def begin(self, *, restart: bool = False) -> bool:
        """Make room for it, or find what an interrupted builder with the same fingerprint left: True for that."""
        ...

    def open(self, part: int = 0) -> Folder:
        """For writing. A part above 0 is folded by a process of its own, and put together with the rest by `gather`."""
        ...

    def gather(self, part: int, tables: Sequence[str], names: Sequence[str]) -> None:
        """Take over the tables and positions of a part that has been folded. Nobody has it open."""
        ...

    def settle(self) -> None:
        """What takes long of a switch, and can be done before the seat is taken."""
        ...

    def switch(self) -> None:
        """Put it in the place of the live one, whose seat the caller has, and keep that. Nobody has it open."""
        ...

    def discard(self) -> None: ...


class Database(Protocol):
    """Where the read models of one ledger are."""

    @property
    def name(self) -> str:
        """For messages: a path, a schema."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its library raises."""
        ...

    def passes(self, error: Exception) -> bool:
        """True for trouble that may be over at the next try: a full disk, a lock, a server that restarts."""
        ...

    def exists(self) -> bool:
        """False before the first fold."""
        ...

    def somebody_folds(self) -> bool:
        """True when it is known, without a try to take it, that another has the seat."""
        ...

    def reading(self) -> AbstractContextManager[Reader]:
        """For any thread. Raises ReadModelUnavailable when there is nothing to read."""
        ...

    def seat(self) -> Seat: ...

    def beside(self, fingerprint: str) -> Beside:
        """`fingerprint`: of the code that folds, since what other code left cannot be gone on with."""
        ...

    def old(self) -> Folder | None:
        """The read model that was live before the last switch, for writing; None when there is none."""
        ...

    def switch_back(self) -> None:
        """Exchange the live read model, whose seat the caller has, and the old one, which nobody has open."""
        ...

    def alone(self) -> AbstractContextManager[bool]:
        """The right to build beside the live read model; yields False when another has it."""
        ...

    def stepping_aside(self, timeout_s: float) -> AbstractContextManager[bool]:
        """The seat, with whoever folds asked to step aside; yields False when that took too long."""
        ...

    def close(self) -> None: ...


def positions_in(reader: Reader | Cursor) -> dict[str, int]:
    """How far each projection has come, by name; the same moment as everything else that the reader sees."""
    return dict(reader.execute("SELECT name, position FROM positions ORDER BY name").fetchall())


def upsert(table: str, columns: str, key: str) -> str:
    """A portable INSERT that replaces the row with the same key. `columns` are all of the table's, in their order."""
    names = [name.strip() for name in columns.split(",")]
    keys = {name.strip() for name in key.split(",")}
    marks = ", ".join("?" * len(names))
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {changes}"
