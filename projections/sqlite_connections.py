"""Connections to a file of read models: one that writes, many that read, each reader at one moment of the file."""

import queue
import re
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from time import monotonic, sleep

from projections.database import CHUNK_ROWS, POSITIONS_DDL, Row, Value
from projections.dialects import SQLITE, SqliteDialect, without_nul
from projections.errors import ReadModelUnavailable
from projections.sqlite_files import inode

BUSY_TIMEOUT_S = 5
MAX_IDLE_READERS = 8
OPENING_TIMEOUT_S = 2.0
OPENING_PERIOD_S = 0.02
CHECKPOINT_PAGES = 16_000
"""WAL pages between checkpoints, 64 MB: with many accounts, each commit touches pages all over the file."""
CACHE_KIB = 8_192
BULK_ROWS = 60
"""Rows a statement: of sixteen columns, the most that a table here has, they stay below the 999 values that every SQLite takes."""

_VALUES = re.compile(r"\bVALUES (\(\?(?:, \?)*\))")


class SqliteCursor(sqlite3.Cursor):
    """A cursor that knows its dialect; every other method is SQLite's own, at its own speed."""

    dialect: SqliteDialect = SQLITE

    def executemany(self, portable: str, rows: Sequence[Sequence[Value]], /) -> "SqliteCursor":  # type: ignore[override]
        """Many rows a statement, and what is left a row each: to begin a statement costs about half of what a row does."""
        left = len(rows) % BULK_ROWS
        full = len(rows) - left
        for start in range(0, full, BULK_ROWS):
            values: list[Value] = []
            for row in rows[start : start + BULK_ROWS]:
                values += row
            self.execute(_in_bulk(portable), values)
        if left:
            super().executemany(portable, rows[full:])
        return self


@lru_cache(maxsize=64)
def _in_bulk(portable: str) -> str:
    """The same INSERT for BULK_ROWS rows."""
    bulk, found = _VALUES.subn(lambda values: f"VALUES {', '.join([values[1]] * BULK_ROWS)}", portable)
    assert found == 1, f"only an INSERT is carried out for many rows, not: {portable}"
    return bulk


class SqliteReader:
    """Questions to a connection."""

    dialect: SqliteDialect = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Value] = (), /) -> sqlite3.Cursor:
        cleaned = [without_nul(value) if isinstance(value, str) else value for value in values]
        return self._connection.execute(sql, cleaned)

    def chunks(self, sql: str, /) -> Iterator[list[Row]]:
        cursor = self._connection.execute(sql)
        while rows := cursor.fetchmany(CHUNK_ROWS):
            yield rows


class SqliteFolder:
    """A connection that writes. Not before the seat is taken, or on a file that nobody else knows."""

    dialect: SqliteDialect = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.execute(POSITIONS_DDL)

    @classmethod
    def open(cls, path: Path) -> "SqliteFolder":
        """synchronous=NORMAL: after a power loss the file may be some commits behind, never broken; they are folded again."""
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            return cls(connection)
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def transaction(self) -> Generator[SqliteCursor]:
        cursor = self.connection.cursor(SqliteCursor)
        cursor.execute("BEGIN IMMEDIATE")
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk has rolled back by itself
                cursor.execute("ROLLBACK")
            raise
        finally:
            cursor.close()

    @contextmanager
    def reading(self) -> Generator[SqliteReader]:
        yield SqliteReader(self.connection)

    def close(self) -> None:
        self.connection.close()


class SqliteReaders:
    """Connections that only read, for any thread. Each `reading` sees one moment of the file that is at the path now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[tuple[sqlite3.Connection, int]] = queue.LifoQueue(MAX_IDLE_READERS)
        self._closed = False

    @contextmanager
    def reading(self) -> Generator[SqliteReader]:
        """Raises ReadModelUnavailable when there is nothing to read."""
        connection, number = self._taken()
        try:
            yield SqliteReader(connection)
        except sqlite3.DatabaseError as error:
            raise ReadModelUnavailable(f"{self._path} cannot be read: {error}") from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._put_back(connection, number)

    def close(self) -> None:
        self._closed = True
        while True:
            try:
                connection, _ = self._idle.get_nowait()
            except queue.Empty:
                return
            connection.close()

    def _taken(self) -> tuple[sqlite3.Connection, int]:
        deadline = monotonic() + OPENING_TIMEOUT_S
        while True:
            now = inode(self._path)
            connection = self._idle_for(now) or self._opened()
            if connection is not None:
                if inode(self._path) == now:
                    return connection, now
                connection.close()  # the file was exchanged while it was opened: what was opened may be a mixture
            if monotonic() >= deadline:
                raise ReadModelUnavailable(f"{self._path} cannot be read: is it there, and does the projector run?")
            sleep(OPENING_PERIOD_S)

    def _idle_for(self, number: int) -> sqlite3.Connection | None:
        while True:
            try:
                connection, opened = self._idle.get_nowait()
            except queue.Empty:
                return None
            if opened == number:
                with suppress(sqlite3.DatabaseError):
                    _begin(connection)
                    return connection
            connection.close()

    def _opened(self) -> sqlite3.Connection | None:
        """None while there is no file, or none that can be read."""
        uri = f"{self._path.absolute().as_uri()}?mode=rw"  # WAL needs its index written even by those who read
        try:
            connection = sqlite3.connect(
                uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.OperationalError:
            return None
        try:
            connection.execute("PRAGMA query_only=ON")
            _begin(connection)
        except sqlite3.DatabaseError:
            connection.close()
            return None
        return connection

    def _put_back(self, connection: sqlite3.Connection, number: int) -> None:
        if not self._closed:
            with suppress(queue.Full):
                self._idle.put_nowait((connection, number))
                return
        connection.close()


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM positions").fetchone()  # the first read fixes what is seen
