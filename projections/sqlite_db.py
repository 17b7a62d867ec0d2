"""The file read.db: who may write it, and when. It holds nothing that the ledger does not say, and may be deleted.

Whoever holds `flock(read.lock)` writes; nobody else creates, renames or removes the file. A replay that wants to exchange it
holds `flock(read.turn)` meanwhile, and the process that folds steps aside. Readers notice another file by its inode.
"""

import sqlite3
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from projections.file_lock import FileLock
from projections.sqlite_beside import SqliteBeside
from projections.sqlite_connections import SqliteFolder, SqliteReader, SqliteReaders
from projections.sqlite_files import exchange_back, inode, old_path

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
        self._readers = SqliteReaders(self.path)
        self.name = str(self.path)

    def passes(self, error: Exception) -> bool:
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in PASSING_CODES

    def exists(self) -> bool:
        return inode(self.path) != 0

    def somebody_folds(self) -> bool:
        return False  # to try is as cheap as to look

    def reading(self) -> AbstractContextManager[SqliteReader]:
        return self._readers.reading()

    def seat(self) -> SqliteSeat:
        return SqliteSeat(self._folder)

    def beside(self, fingerprint: str) -> SqliteBeside:
        return SqliteBeside(self.path, fingerprint)

    def old(self) -> SqliteFolder | None:
        path = old_path(self.path)
        return SqliteFolder.open(path) if inode(path) else None

    def switch_back(self) -> None:
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

    def close(self) -> None:
        self._readers.close()
