"""The embedded store: one SQLite file that any number of local processes may write, in turn.

Every commit holds `flock(ledger.lock)` around BEGIN IMMEDIATE ... COMMIT: SQLite's own busy handler polls, and starves whoever
polls last. WAL with synchronous=FULL: a commit survives power loss. Facts can be inserted, never changed or deleted.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from eventsourcing.persistence import Notification, PersistenceError, StoredEvent
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
)

from domain.books import EMPTY, Decision, Guard, Result
from domain.commands import Command, VaultPut
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled, Fact
from domain.ledger import decide
from domain.streams import StreamId
from ledger.errors import LedgerUnavailable, StoreRefused
from ledger.mapper import Recorded, decode, encode
from ledger.store import OpenHold, StoredFact

SCHEMA_VERSION = 1
APPLICATION_ID = 0x56454C4F
BUSY_TIMEOUT_S = 30
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs"}
)

EVENTS_DDL = (
    """CREATE TABLE IF NOT EXISTS stored_events (
        id INTEGER PRIMARY KEY,
        originator_id TEXT NOT NULL,
        originator_version INTEGER NOT NULL,
        topic TEXT NOT NULL,
        state BLOB NOT NULL,
        UNIQUE (originator_id, originator_version))""",
    # What the directory follows is a thousandth of the log: found without reading the rest.
    """CREATE INDEX IF NOT EXISTS stored_events_without_charges ON stored_events (id)
        WHERE substr(topic, 1, 7) <> 'charge.'""",
    """CREATE TRIGGER IF NOT EXISTS stored_events_never_change BEFORE UPDATE ON stored_events
        BEGIN SELECT RAISE(ABORT, 'facts are never changed'); END""",
    """CREATE TRIGGER IF NOT EXISTS stored_events_never_go BEFORE DELETE ON stored_events
        BEGIN SELECT RAISE(ABORT, 'facts are never deleted'); END""",
)
STATE_DDL = (
    "CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL, floor INTEGER) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS holds (
        charge TEXT PRIMARY KEY, user INTEGER NOT NULL, key INTEGER NOT NULL, capped INTEGER NOT NULL,
        amount INTEGER NOT NULL, extensions INTEGER NOT NULL, node TEXT NOT NULL, epoch TEXT NOT NULL,
        deadline INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS vault (ref TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS keyring (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID",
)

GUARDS_SQL = "SELECT account, balance, floor FROM balances WHERE account IN (SELECT value FROM json_each(?))"
HISTORY_SQL = """SELECT originator_id, topic, state FROM stored_events
    WHERE originator_id IN (SELECT value FROM json_each(?)) ORDER BY originator_id, originator_version"""
INSERT_EVENT_SQL = "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)"
HOLD_COLUMNS = "charge, user, key, capped, amount, extensions, node, epoch, deadline"


class _Rows:
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


INSERT_EVENTS = _Rows(
    "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES", "(?, ?, ?, ?)"
)
INSERT_BALANCES = _Rows("INSERT INTO balances (account, balance, floor) VALUES", "(?, ?, ?)")
UPSERT_BALANCES = _Rows(
    "INSERT INTO balances (account, balance, floor) VALUES",
    "(?, ?, ?)",
    "ON CONFLICT (account) DO UPDATE SET balance = excluded.balance, floor = excluded.floor",
)
PUT_HOLDS = _Rows("INSERT INTO holds VALUES", "(?, ?, ?, ?, ?, ?, ?, ?, ?)")
END_HOLDS = _Rows("DELETE FROM holds WHERE charge IN (VALUES", "(?)", ")")
ENDINGS = (ChargeSettled, ChargeReleased, ChargeExpired)
MAX_REMEMBERED = 50_000


class _Memory:
    """What this process wrote last and nobody has changed since: guards, and the streams of open charges.

    The file's data version tells whether another connection has committed; then everything is forgotten. It is read inside the
    transaction, when no other process can write.
    """

    def __init__(self) -> None:
        self.guards: dict[str, Guard] = {}
        self.open_charges: dict[StreamId, list[Fact]] = {}
        self._data_version = -1

    def check(self, data_version: int) -> None:
        if data_version != self._data_version:
            self.forget()
            self._data_version = data_version

    def forget(self) -> None:
        self.guards.clear()
        self.open_charges.clear()

    def keep(self, decision: Decision) -> None:
        """After the commit: what it left."""
        if len(self.guards) > MAX_REMEMBERED or len(self.open_charges) > MAX_REMEMBERED:
            self.forget()
        self.guards.update(decision.balances)
        for stream, _, fact in decision.entries:
            if isinstance(fact, ChargeHeld):
                self.open_charges[stream] = [fact]
            elif isinstance(fact, ENDINGS):
                self.open_charges.pop(stream, None)


class LedgerPool(SQLiteConnectionPool):
    """Connections with our pragmas: the library leaves `synchronous` to SQLite's build, we do not."""

    def _create_connection(self) -> SQLiteConnection:
        connection = super()._create_connection()
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        return connection

    def connect(self) -> sqlite3.Connection:
        return self._create_connection()._sqlite_conn  # pyright: ignore[reportPrivateUsage]  # the library has no other way


class LedgerDatastore(SQLiteDatastore):
    """The library's datastore over our pool."""

    def __init__(self, db_name: str, *, pool_size: int) -> None:
        super().__init__(db_name, pool_size=pool_size, lock_timeout=BUSY_TIMEOUT_S)
        self.pool.close()
        self._ours = self.pool = LedgerPool(db_name=db_name, lock_timeout=BUSY_TIMEOUT_S, pool_size=pool_size)

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own, outside the pool. Whoever asks closes it."""
        return self._ours.connect()


class LedgerRecorder(SQLiteApplicationRecorder):
    """The library's recorder over our table: an explicit id (VACUUM renumbers rowids) and no UPDATE or DELETE."""

    def construct_create_table_statements(self) -> list[str]:
        return [*EVENTS_DDL]

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **_: object
    ) -> Sequence[int] | None:
        ids: list[int] = []
        for event in stored_events:
            c.execute(INSERT_EVENT_SQL, (_hex(event.originator_id), event.originator_version, event.topic, event.state))
            ids.append(int(c.lastrowid))
        return ids

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 0 if start is None else start + (not inclusive_of_start)
        sql = "SELECT id, originator_id, originator_version, topic, state FROM stored_events WHERE id >= ?"
        parameters: list[int | str] = [first]
        if stop is not None:
            sql += " AND id <= ?"
            parameters.append(stop)
        if topics:
            sql += f" AND topic IN ({','.join('?' * len(topics))})"
            parameters.extend(topics)
        with self.datastore.transaction(commit=False) as c:
            c.execute(sql + " ORDER BY id LIMIT ?", [*parameters, limit])
            return [
                Notification(
                    id=row["id"],
                    originator_id=self.convert_originator_id(row["originator_id"]),
                    originator_version=row["originator_version"],
                    topic=row["topic"],
                    state=row["state"],
                )
                for row in c.fetchall()
            ]


class SqliteReader:
    """The reads of a LedgerStore, over whatever answers `_all`."""

    def _all(self, sql: str, parameters: tuple[object, ...]) -> list[sqlite3.Row]:
        raise AssertionError("a reader says how it reads")

    def head(self) -> int:
        return int(self._all("SELECT max(id) FROM stored_events", ())[0][0] or 0)

    def read_stream(self, stream: StreamId) -> list[Recorded]:
        sql = """SELECT id, originator_id, originator_version, topic, state FROM stored_events
            WHERE originator_id = ? ORDER BY originator_version"""
        return [_recorded(row) for row in self._all(sql, (stream,))]

    def read_log(self, after: int, limit: int, *, without_charges: bool = False) -> list[Recorded]:
        return [_recorded(row) for row in self._all(_log_sql(without_charges), (after, limit))]

    def read_stored(self, after: int, limit: int) -> list[StoredFact]:
        return [
            StoredFact(row[0], row[1], row[2], row[3], row[4]) for row in self._all(_log_sql(False), (after, limit))
        ]

    def balance(self, account: str) -> Guard | None:
        rows = self._all("SELECT balance, floor FROM balances WHERE account = ?", (account,))
        return Guard(rows[0][0], rows[0][1]) if rows else None

    def balances(self) -> Iterator[tuple[str, Guard]]:
        after = ""
        while rows := self._all(
            "SELECT account, balance, floor FROM balances WHERE account > ? ORDER BY account LIMIT 1000", (after,)
        ):
            for account, balance, floor in rows:
                yield account, Guard(balance, floor)
            after = rows[-1][0]

    def open_holds(self, *, limit: int = 1000, after: StreamId = "") -> list[OpenHold]:
        sql = f"SELECT {HOLD_COLUMNS} FROM holds WHERE charge > ? ORDER BY charge LIMIT ?"
        return [_open_hold(row) for row in self._all(sql, (after, limit))]

    def secret(self, ref: str) -> bytes | None:
        rows = self._all("SELECT sealed FROM vault WHERE ref = ?", (ref,))
        return bytes(rows[0][0]) if rows else None

    def keyring(self) -> dict[str, bytes]:
        return {row[0]: bytes(row[1]) for row in self._all("SELECT name, wrapped FROM keyring", ())}

    def broken_streams(self) -> list[StreamId]:
        """Streams whose versions are not 1, 2, 3 ...: at most a hundred of them."""
        sql = """SELECT originator_id FROM stored_events GROUP BY originator_id
            HAVING min(originator_version) <> 1 OR max(originator_version) <> count(*) LIMIT 100"""
        return [row[0] for row in self._all(sql, ())]


class Snapshot(SqliteReader):
    """The ledger as it is at one moment: every read sees the same commits, however long it takes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("BEGIN")
        connection.execute("SELECT max(id) FROM stored_events").fetchone()  # the first read fixes what is seen

    def _all(self, sql: str, parameters: tuple[object, ...]) -> list[sqlite3.Row]:
        return self._connection.execute(sql, parameters).fetchall()


class SqliteStore(SqliteReader):
    """A LedgerStore in `folder/ledger.db`. Creates the file and its tables; refuses network file systems."""

    def __init__(self, folder: Path, *, synchronous: str = "FULL", readers: int = 4) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_network_file_system(folder)
        self.folder = folder
        path = str(folder / "ledger.db")
        self._lock_fd = os.open(folder / "ledger.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Readers get a datastore of their own: in a shared one they would queue behind a waiting writer.
        self._writing = LedgerDatastore(path, pool_size=1)
        self._reading = LedgerDatastore(path, pool_size=readers)
        self._connection = self._writing.connect()
        self._connection.row_factory = None
        self._watch = self._reading.connect()
        self.recorder = LedgerRecorder(self._reading)
        self._create_tables()
        if synchronous != "FULL":
            self._connection.execute(f"PRAGMA synchronous={synchronous}")
        self._cursor = self._connection.cursor()
        self._last_now = 0
        self._memory = _Memory()

    def commit(self, batch: Sequence[Command]) -> list[Result]:
        accounts: set[str] = set()
        streams: set[StreamId] = set()
        for command in batch:
            accounts.update(command.accounts())
            streams.update(command.streams())
        try:
            with self._exclusively():
                guards, history = self._load(accounts, streams)
                decision = decide(batch, guards, history, self._now())
                self._write(batch, decision, accounts)
        except BaseException as error:
            self._memory.forget()
            if isinstance(error, sqlite3.OperationalError):
                raise LedgerUnavailable(f"the ledger cannot be written: {error}") from error
            raise
        self._memory.keep(decision)
        return decision.results

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
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk or an I/O error has rolled back by itself
                    self._cursor.execute("ROLLBACK")
                raise
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _load(self, accounts: set[str], streams: set[StreamId]) -> tuple[dict[str, Guard], dict[StreamId, list[Fact]]]:
        """What the batch is decided on: from memory where this process wrote it last, else from the file."""
        memory = self._memory
        memory.check(self._cursor.execute("PRAGMA data_version").fetchone()[0])
        missing = [account for account in accounts if account not in memory.guards]
        if missing:
            found = self._cursor.execute(GUARDS_SQL, (_json(missing),)).fetchall()
            memory.guards.update(dict.fromkeys(missing, EMPTY))
            memory.guards.update((account, Guard(balance, floor)) for account, balance, floor in found)
        history: dict[StreamId, list[Fact]] = {}
        unknown: list[StreamId] = []
        for stream in streams:
            kept = memory.open_charges.get(stream)
            if kept is None:
                unknown.append(stream)
            else:
                history[stream] = kept
        if unknown:
            for stream, topic, state in self._cursor.execute(HISTORY_SQL, (_json(unknown),)):
                history.setdefault(stream, []).append(decode(topic, state))
        return {account: memory.guards[account] for account in accounts}, history

    def _write(self, batch: Sequence[Command], decision: Decision, loaded: set[str]) -> None:
        if not decision.entries:
            return
        cursor = self._cursor
        events = [(e.stream, e.version, e.fact.TOPIC, encode(e.fact)) for e in decision.entries]
        INSERT_EVENTS.run(cursor, events)
        known = [(name, *guard) for name, guard in decision.balances.items() if name in loaded]
        UPSERT_BALANCES.run(cursor, known)
        if len(known) != len(decision.balances):
            # Accounts of an id that was assigned in this batch: nobody can have had them before.
            fresh = [(name, *guard) for name, guard in decision.balances.items() if name not in loaded]
            INSERT_BALANCES.run(cursor, fresh)
        self._write_holds(decision)
        for command, result in zip(batch, decision.results, strict=True):
            if (command.vault or command.vault_delete) and result.status == "created":
                self._write_vault(command.vault, command.vault_delete)

    def _write_holds(self, decision: Decision) -> None:
        put: dict[StreamId, tuple[object, ...]] = {}
        ended: list[tuple[StreamId]] = []
        grown: list[tuple[int, int, StreamId]] = []
        for stream, _, fact in decision.entries:
            if isinstance(fact, ChargeHeld):
                put[stream] = (
                    stream,
                    fact.user,
                    fact.key,
                    fact.capped,
                    fact.amount,
                    0,
                    fact.node,
                    fact.epoch,
                    fact.deadline,
                )
            elif isinstance(fact, ENDINGS):
                if put.pop(stream, None) is None:
                    ended.append((stream,))
            elif isinstance(fact, ChargeExtended):
                grown.append((fact.amount, fact.n, fact.charge))
        PUT_HOLDS.run(self._cursor, list(put.values()))
        for growth in grown:
            self._cursor.execute("UPDATE holds SET amount = amount + ?, extensions = ? WHERE charge = ?", growth)
        END_HOLDS.run(self._cursor, ended)

    def _write_vault(self, puts: tuple[VaultPut, ...], gone: tuple[str, ...]) -> None:
        self._cursor.executemany("INSERT INTO vault VALUES (?, ?)", [(put.ref, put.sealed) for put in puts])
        self._cursor.executemany("DELETE FROM vault WHERE ref = ?", [(ref,) for ref in gone])

    def _all(self, sql: str, parameters: tuple[object, ...]) -> list[sqlite3.Row]:
        try:
            with self._reading.transaction(commit=False) as c:
                c.execute(sql, parameters)
                rows: list[sqlite3.Row] = c.fetchall()
                return rows
        except (sqlite3.OperationalError, PersistenceError) as error:
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error

    def _now(self) -> int:
        """The ledger's clock, ms: the machine's, never going back within a process."""
        self._last_now = max(self._last_now, time.time_ns() // 1_000_000)
        return self._last_now


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


def _log_sql(without_charges: bool) -> str:
    only = " AND substr(topic, 1, 7) <> 'charge.'" if without_charges else ""
    return f"""SELECT id, originator_id, originator_version, topic, state FROM stored_events
        WHERE id > ?{only} ORDER BY id LIMIT ?"""


def _open_hold(row: sqlite3.Row) -> OpenHold:
    charge, user, key, capped, amount, extensions, node, epoch, deadline = row
    return OpenHold(charge, user, key, bool(capped), amount, extensions, node, epoch, deadline)


def _recorded(row: sqlite3.Row) -> Recorded:
    return Recorded(row[0], row[1], row[2], decode(row[3], row[4]))


def _hex(originator_id: object) -> str:
    return str(getattr(originator_id, "hex", originator_id))
