"""The file read.db: who may write it, and how it is opened. It holds nothing that the ledger does not say, and may be deleted.

Whoever holds `flock(read.lock)` writes; nobody else creates, renames or removes the file. A replay that wants to exchange it
holds `flock(read.turn)` meanwhile, and the process that folds steps aside. Readers notice another file by its inode.
"""

import fcntl
import os
import queue
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from projections.errors import ReadModelUnavailable

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

POSITIONS_DDL = (
    "CREATE TABLE IF NOT EXISTS positions (name TEXT PRIMARY KEY, position INTEGER NOT NULL, tables TEXT NOT NULL)"
)
"""The event-sourcing library has a tracking table; it stays in `ledger` with the rest of the library, by contract."""


def path_in(folder: Path) -> Path:
    return folder / "read.db"


def passes(error: sqlite3.Error) -> bool:
    """True for trouble that may be over at the next try: a full disk, a lock, an unreadable file."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in PASSING_CODES


class FileLock:
    """A lock that dies with its process. Not for two threads at once: each takes one of its own."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """True when it is ours now; never waits."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take_within(self, timeout_s: float, period_s: float = 0.02) -> bool:
        deadline = monotonic() + timeout_s
        while not self.take():
            if monotonic() >= deadline:
                return False
            sleep(period_s)
        return True

    def is_taken(self) -> bool:
        """True while another holds it. Those who only look do not see each other."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def release(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)


def fold_lock(folder: Path) -> FileLock:
    """Who holds it folds."""
    return FileLock(folder / "read.lock")


def turn_lock(folder: Path) -> FileLock:
    """Who holds it wants the fold lock, and gets it as soon as its holder looks."""
    return FileLock(folder / "read.turn")


def open_for_folding(path: Path) -> sqlite3.Connection:
    """Open or create a read model. Only under the fold lock, or for a file that nobody else knows.

    synchronous=NORMAL: after a power loss the file may be some commits behind, never broken; they are folded again.
    """
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.execute(POSITIONS_DDL)
    return connection


def open_scratch(path: Path) -> sqlite3.Connection:
    """A new read model that only its maker knows: it need not survive anything until it is finished."""
    remove(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA journal_mode=MEMORY")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.execute(POSITIONS_DDL)
    return connection


def finish(connection: sqlite3.Connection, path: Path) -> None:
    """Close a scratch as a read model like any other, on the disk."""
    connection.execute("PRAGMA locking_mode=NORMAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    _sync(path, os.O_RDWR)


def positions_in(reader: sqlite3.Connection) -> dict[str, int]:
    """How far each projection has come, by name; the same moment as everything else in the reader's transaction."""
    return dict(reader.execute("SELECT name, position FROM positions ORDER BY name").fetchall())


def inode(path: Path) -> int:
    """0 when there is no such file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


class Readers:
    """Connections that only read, for any thread. Each `reading` sees one moment of the file that is at the path now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[tuple[sqlite3.Connection, int]] = queue.LifoQueue(MAX_IDLE_READERS)
        self._closed = False

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Raises ReadModelUnavailable when there is nothing to read."""
        connection, number = self._taken()
        try:
            yield connection
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


def exchange(path: Path, newer: Path) -> None:
    """Put a closed, checkpointed read model in the place of another, under the fold lock and with no writer open.

    The old name goes first: SQLite drops a WAL without its file, but would apply the WAL of one file to another. Readers keep
    what they had opened; a file that has moved is not checkpointed when they close it.
    """
    path.unlink(missing_ok=True)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    newer.rename(path)
    _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a read model that nobody has open."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
