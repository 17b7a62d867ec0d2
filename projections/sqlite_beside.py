"""A read model that grows in a file of its own, read.replay.db, and takes the place of read.db when it is whole.

Its pages need not survive a power loss, but do survive its builder: a WAL without fsync is whole as long as the machine runs,
so a scratch of another boot, of other code or of other projections is begun anew.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from projections.sqlite_connections import SqliteFolder
from projections.sqlite_files import exchange, inode, remove, sync

CACHE_KIB = 32_768
CHECKPOINT_PAGES = 4_000
BUSY_TIMEOUT_S = 10
"""A part whose parent was killed ends within a page: its successor waits for it."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BUILDING_DDL = "CREATE TABLE IF NOT EXISTS building (fingerprint TEXT NOT NULL)"


class SqliteBeside:
    """read.replay.db, and files with a number for parts of it. Under the lock of whoever replays."""

    def __init__(self, live: Path, fingerprint: str) -> None:
        self._live = live
        self._fingerprint = f"{fingerprint} {_boot()}"

    def begin(self, *, restart: bool = False) -> bool:
        found = not restart and self._is_ours(0)
        if not found:
            self.discard()
        return found

    def open(self, part: int = 0) -> SqliteFolder:
        path = self._path(part)
        if not self._is_ours(part):
            remove(path)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute(BUILDING_DDL)
        if connection.execute("SELECT count(*) FROM building").fetchone() == (0,):
            connection.execute("INSERT INTO building VALUES (?)", (self._fingerprint,))
        return SqliteFolder(connection)

    def gather(self, part: int, tables: Sequence[str], names: Sequence[str]) -> None:
        connection = self.open().connection
        try:
            connection.execute("ATTACH ? AS part", (str(self._path(part)),))
            connection.execute("BEGIN IMMEDIATE")
            for table in tables:
                connection.execute(f'INSERT INTO main."{table}" SELECT * FROM part."{table}"')
            for name in names:
                connection.execute(
                    "UPDATE main.positions SET position = (SELECT position FROM part.positions WHERE name = ?1) WHERE name = ?1",
                    (name,),
                )
            connection.execute("COMMIT")
        finally:
            connection.close()
        remove(self._path(part))

    def settle(self) -> None:
        sync(self._path(0))

    def switch(self) -> None:
        connection = self.open().connection
        connection.execute("DROP TABLE building")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        sync(self._path(0))
        self._discard_parts()
        self._settle_live()
        exchange(self._live, self._path(0))

    def discard(self) -> None:
        remove(self._path(0))
        self._discard_parts()

    def _discard_parts(self) -> None:
        for path in self._live.parent.glob("read.replay.*.db"):
            remove(path)

    def _settle_live(self) -> None:
        """Empty the live WAL where that is possible, so that what is kept is one file."""
        if inode(self._live):
            with suppress(sqlite3.DatabaseError):
                SqliteFolder.open(self._live).close()

    def _is_ours(self, part: int) -> bool:
        """True for a scratch that can be gone on with."""
        path = self._path(part)
        if not inode(path):
            return False
        try:
            connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        except sqlite3.DatabaseError:
            return False
        try:
            found = connection.execute("SELECT fingerprint FROM building").fetchone()
        except sqlite3.DatabaseError:
            return False
        finally:
            connection.close()
        return bool(found == (self._fingerprint,))

    def _path(self, part: int) -> Path:
        return self._live.parent / (f"read.replay.{part}.db" if part else "read.replay.db")


def _boot() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
