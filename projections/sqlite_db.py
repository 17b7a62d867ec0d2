"""The file read.db: who may write it, and how it is opened. It holds nothing that the ledger does not say, and may be deleted.

Whoever holds `flock(read.lock)` writes; nobody else creates, renames or removes the file. A replay that wants to exchange it
holds `flock(read.turn)` meanwhile, and the process that folds steps aside. Readers notice another file by its inode.
"""

import queue
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from projections.database import CHUNK_ROWS, POSITIONS_DDL, Row, Value
from projections.dialects import SQLITE, SqliteDialect, without_nul
from projections.errors import ReadModelUnavailable
from projections.file_lock import FileLock
from projections.sqlite_beside import SqliteBeside, exchange_back, inode

BUSY_TIMEOUT_S = 5
MAX_IDLE_READERS = 8
OPENING_TIMEOUT_S = 2.0
OPENING_PERIOD_S = 0.02
CHECKPOINT_PAGES = 16_000
"""WAL pages between checkpoints, 64 MB: with many accounts, each commit touches pages all over the file."""
CACHE_KIB = 8_192

PASSING_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,  # what a writer is told whose file was removed: it opens the new one
    }
)


def path_in(folder: Path) -> Path:
    return folder / "read.db"


class SqliteCursor(sqlite3.Cursor):
    """A cursor that knows its dialect; every method is SQLite's own, at its own speed."""

    dialect: SqliteDialect = SQLITE


class SqliteReader:
    """Questions to a connection."""

    dialect: SqliteDialect = SQLITE

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Value] = (), /) -> sqlite3.Cursor:
        cleaned = [without_nul(value) if isinstance(value, str) else value for value in values]
        return self._connection.execute(sql, cleaned)

    def chunks(self, sql: str) -> Iterator[list[Row]]:
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
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return cls(connection)

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


class SqliteSeat:
    """`flock(read.lock)`, and the file that is open while it is held."""

    def __init__(self, folder: Path) -> None:
        self._path = path_in(folder)
        self._lock = FileLock(folder / "read.lock")
        self._turn = FileLock(folder / "read.turn")
        self._folder: SqliteFolder | None = None
        self._number = 0

    def take(self) -> SqliteFolder | None:
        if self._turn.is_taken() or not self._lock.take():
            return None
        try:
            self._folder = SqliteFolder.open(self._path)
        except BaseException:
            self._lock.release()
            raise
        self._number = inode(self._path)
        return self._folder

    def is_wanted(self) -> bool:
        return self._turn.is_taken() or inode(self._path) != self._number

    def release(self) -> None:
        if self._folder is not None:
            self._folder.close()
            self._folder = None
            self._lock.release()

    def close(self) -> None:
        self.release()
        self._lock.close()
        self._turn.close()


class SqliteDatabase:
    """The read models in a folder."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = path_in(folder)
        self.name = str(self.path)

    def passes(self, error: Exception) -> bool:
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in PASSING_CODES

    def exists(self) -> bool:
        return inode(self.path) != 0

    def somebody_folds(self) -> bool:
        return False  # to try is as cheap as to look

    def readers(self) -> "SqliteReaders":
        return SqliteReaders(self.path)

    def seat(self) -> SqliteSeat:
        return SqliteSeat(self._folder)

    def beside(self) -> SqliteBeside:
        return SqliteBeside(self.path, SqliteFolder)

    def old(self) -> SqliteFolder | None:
        path = Path(f"{self.path}.old")
        return SqliteFolder.open(path) if inode(path) else None

    def switch_back(self, old: SqliteFolder) -> None:
        old.close()
        exchange_back(self.path)

    @contextmanager
    def alone(self) -> Generator[bool]:
        lock = FileLock(self._folder / "read.replay.lock")
        try:
            yield lock.take()
        finally:
            lock.close()

    @contextmanager
    def stepping_aside(self, timeout_s: float) -> Generator[bool]:
        turn, lock = FileLock(self._folder / "read.turn"), FileLock(self._folder / "read.lock")
        try:
            yield turn.take_within(timeout_s) and lock.take_within(timeout_s)
        finally:
            lock.close()  # closing lets go of it
            turn.close()


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
