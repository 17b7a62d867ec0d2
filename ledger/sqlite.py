"""The embedded store: one SQLite file that any number of local processes may write, in turn.

Every commit holds `flock(ledger.lock)` around BEGIN IMMEDIATE ... COMMIT: SQLite's own busy handler polls, and starves whoever
polls last. WAL with synchronous=FULL: a commit survives power loss. Facts can be inserted, never changed or deleted.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from eventsourcing.persistence import PersistenceError

from domain.books import EMPTY, Decision, Guard, Result
from domain.commands import Command, Hold
from domain.events import Fact
from domain.ledger import decide
from domain.streams import StreamId
from ledger.errors import LedgerUnavailable, StoreRefused
from ledger.mapper import decode
from ledger.sqlite_memory import Memory
from ledger.sqlite_reading import Snapshot, SqliteReader
from ledger.sqlite_recorder import EVENTS_DDL, STATE_DDL, LedgerDatastore, LedgerRecorder
from ledger.sqlite_rows import write
from ledger.store import Seal, Session

SCHEMA_VERSION = 2
APPLICATION_ID = 0x56454C4F
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs"}
)

GUARDS_SQL = "SELECT account, balance, floor FROM balances WHERE account IN (SELECT value FROM json_each(?))"
HISTORY_SQL = """SELECT originator_id, topic, state FROM stored_events
    WHERE originator_id IN (SELECT value FROM json_each(?)) ORDER BY originator_id, originator_version"""


class SqliteStore(SqliteReader):
    """A LedgerStore in `folder/ledger.db`. Creates the file and its tables; refuses network file systems."""

    def __init__(
        self, folder: Path, *, synchronous: str = "FULL", readers: int = 4, clock: Callable[[], int] | None = None
    ) -> None:
        """Open a ledger, creating what is not there. `clock`, in ms, stands in for the machine's."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_network_file_system(folder)
        self.folder = folder
        path = str(folder / "ledger.db")
        self._lock_fd = os.open(folder / "ledger.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Readers get a datastore of their own: in a shared one they would queue behind a waiting writer.
        self._writing = LedgerDatastore(path, pool_size=1)
        self._reading = LedgerDatastore(path, pool_size=readers)
        self._open()
        if synchronous != "FULL":
            self._connection.execute(f"PRAGMA synchronous={synchronous}")
        self._cursor = self._connection.cursor()
        self._clock = clock or _machine_ms
        self._last_now = 0
        self._memory = Memory()

    def _open(self) -> None:
        try:
            # In turn: the first to open a file switches it to WAL, and SQLite's busy handler does not wait for that.
            with self._in_turn():
                self._connection = self._writing.connect()
                self._watch = self._reading.connect()
            self._connection.row_factory = None
            self.recorder = LedgerRecorder(self._reading)
            self._create_tables()
        except sqlite3.OperationalError as error:
            raise LedgerUnavailable(f"{self.folder / 'ledger.db'} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreRefused(f"{self.folder / 'ledger.db'} is not a ledger: {error}") from error

    def commit(self, batch: Sequence[Command]) -> list[Result]:
        try:
            try:
                decision = self._commit(batch, trusting=True)
            except sqlite3.IntegrityError:
                # Something there already was taken for new. Look at everything, and decide again.
                self._memory.forget()
                decision = self._commit(batch, trusting=False)
        except BaseException as error:
            self._memory.forget()
            if isinstance(error, sqlite3.OperationalError):
                raise LedgerUnavailable(f"the ledger cannot be written: {error}") from error
            raise
        self._memory.keep(decision)
        return decision.results

    def _commit(self, batch: Sequence[Command], *, trusting: bool) -> Decision:
        accounts = {account for command in batch for account in command.accounts()}
        with self._exclusively():
            guards, history = self._load(batch, accounts, trusting=trusting)
            now = self._now()
            decision = decide(batch, guards, history, now)
            if trusting and _is_one_refused_unseen(batch, decision.results):
                # What is refused writes nothing, so nothing would tell that its stream was there.
                guards, history = self._load(batch, accounts, trusting=False)
                decision = decide(batch, guards, history, now)
            if decision.entries:
                write(self._cursor, decision, accounts)
                self._write_vault(batch, decision.results)
        return decision

    def add_to_keyring(self, entries: dict[str, bytes]) -> None:
        with self._exclusively():
            self._cursor.executemany("INSERT OR IGNORE INTO keyring VALUES (?, ?)", list(entries.items()))

    @contextmanager
    def snapshot(self) -> Generator[Snapshot, None, None]:
        connection = self._reading.connect()
        try:
            yield Snapshot(connection)
        finally:
            connection.close()

    def version_of_data(self) -> int:
        return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def append_seal(self, seal: Seal) -> bool:
        with self._apart() as connection, suppress(sqlite3.IntegrityError):
            connection.execute("INSERT INTO seals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", seal)
            return True
        return False

    def lead(self, name: str) -> "FileLead | None":
        return FileLead.taken(self.folder / f"{name}.lock")

    def put_session(self, session: Session) -> None:
        with self._apart() as connection:
            connection.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)", session)

    def end_session(self, digest: str) -> bool:
        with self._apart() as connection:
            return connection.execute("DELETE FROM sessions WHERE digest = ?", (digest,)).rowcount > 0

    def end_sessions_of(self, user_id: int) -> int:
        with self._apart() as connection:
            return connection.execute("DELETE FROM sessions WHERE user = ?", (user_id,)).rowcount

    def forget_sessions(self, before_ms: int, limit: int = 1000) -> int:
        sql = """DELETE FROM sessions WHERE digest IN
            (SELECT digest FROM sessions WHERE expires_at_ms < ? ORDER BY expires_at_ms LIMIT ?)"""
        with self._apart() as connection:
            return connection.execute(sql, (before_ms, limit)).rowcount

    def close(self) -> None:
        self._cursor.close()
        self._connection.close()
        self._watch.close()
        self._writing.close()
        self._reading.close()
        os.close(self._lock_fd)

    def _create_tables(self) -> None:
        self._cursor = self._connection.cursor()
        with self._exclusively():
            (version,) = self._cursor.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise StoreRefused(
                    f"{self.folder / 'ledger.db'} has schema {version}, this version of Veloera knows {SCHEMA_VERSION}: upgrade"
                )
            for statement in (*EVENTS_DDL, *STATE_DDL):
                self._cursor.execute(statement)
            self._cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    @contextmanager
    def _exclusively(self) -> Generator[None, None, None]:
        """One writer at a time over all local processes: first the file lock, which is fair, then SQLite's."""
        with self._in_turn():
            try:
                self._cursor.execute("BEGIN IMMEDIATE")
                yield
                self._cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk or an I/O error has rolled back by itself
                    self._cursor.execute("ROLLBACK")
                raise

    @contextmanager
    def _apart(self) -> Generator[sqlite3.Connection, None, None]:
        """A write that is no commit of the ledger: on a connection of its own, since any thread may ask; in turn as well."""
        descriptor = os.open(self.folder / "ledger.lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            connection = self._reading.connect()
            try:
                yield connection
            except sqlite3.OperationalError as error:
                raise LedgerUnavailable(f"the ledger cannot be written: {error}") from error
            finally:
                connection.close()
        finally:
            os.close(descriptor)

    @contextmanager
    def _in_turn(self) -> Generator[None, None, None]:
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _load(
        self, batch: Sequence[Command], accounts: set[str], *, trusting: bool
    ) -> tuple[dict[str, Guard], dict[StreamId, list[Fact]]]:
        """What the batch is decided on: from memory where this process wrote it last, else from the file.

        `trusting`: a hold's stream is taken for new without a look; where it is not, the write fails on the primary key.
        """
        memory = self._memory
        if not memory.check(self._cursor.execute("PRAGMA data_version").fetchone()[0]):
            self._last_now = max(self._last_now, self._last_moment())
        missing = [account for account in accounts if account not in memory.guards]
        if missing:
            found = self._cursor.execute(GUARDS_SQL, (_json(missing),)).fetchall()
            memory.guards.update(dict.fromkeys(missing, EMPTY))
            memory.guards.update((account, Guard(balance, floor)) for account, balance, floor in found)
        history: dict[StreamId, list[Fact]] = {}
        unknown: list[StreamId] = []
        for command in batch:
            if not (memory.recall(command, history) or (trusting and isinstance(command, Hold))):
                unknown.extend(command.streams())
        if unknown:
            stored: dict[StreamId, list[Fact]] = {}
            for stream, topic, state in self._cursor.execute(HISTORY_SQL, (_json(unknown),)):
                stored.setdefault(stream, []).append(decode(topic, state))
            history.update(stored)
        return {account: memory.guards[account] for account in accounts}, history

    def _write_vault(self, batch: Sequence[Command], results: Sequence[Result]) -> None:
        for command, result in zip(batch, results, strict=True):
            if (command.vault or command.vault_delete) and result.status == "created":
                puts = [(put.ref, put.sealed) for put in command.vault]
                self._cursor.executemany("INSERT INTO vault VALUES (?, ?)", puts)
                self._cursor.executemany("DELETE FROM vault WHERE ref = ?", [(ref,) for ref in command.vault_delete])

    def _all(self, sql: str, parameters: tuple[object, ...]) -> list[sqlite3.Row]:
        try:
            with self._reading.transaction(commit=False) as c:
                c.execute(sql, parameters)
                rows: list[sqlite3.Row] = c.fetchall()
                return rows
        except (sqlite3.OperationalError, PersistenceError) as error:
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error

    def _last_moment(self) -> int:
        """When the newest fact was recorded; 0 in an empty log."""
        row = self._cursor.execute("SELECT state FROM stored_events ORDER BY id DESC LIMIT 1").fetchone()
        return msgspec.json.decode(row[0], type=_Moment).at if row else 0

    def _now(self) -> int:
        """The ledger's clock, ms: the machine's, never going back along the log, whoever wrote to it."""
        self._last_now = max(self._last_now, self._clock())
        return self._last_now


class FileLead:
    """The lead among the processes of one machine: a lock that dies with its process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def taken(cls, path: Path) -> "FileLead | None":
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def is_held(self) -> bool:
        return self._descriptor >= 0

    def close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


class _Moment(msgspec.Struct):
    """The part of any fact that is asked for here, also of one that a newer version wrote."""

    at: int = 0


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000


def _is_one_refused_unseen(batch: Sequence[Command], results: Sequence[Result]) -> bool:
    """Whether a hold was refused: its stream was taken for new without a look."""
    for command, result in zip(batch, results, strict=True):
        if result.status != "created" and isinstance(command, Hold):
            return True
    return False


def refuse_network_file_system(folder: Path) -> None:
    """Raises StoreRefused where file locks of several machines cannot be trusted."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/mounts").read_text()
    except OSError:
        return
    target = str(folder.resolve())
    for line in mounts.splitlines():
        _, mount, fstype, *_ = line.split(" ")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fstype
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreRefused(f"{folder} is on a network file system ({kind}); the embedded store needs a local disk")


def _json(names: list[str]) -> str:
    return msgspec.json.encode(names).decode()
