"""Connections to a schema of read models: one that writes, some that read, each reader at one moment of one read model.

A reader holds a shared lock on `positions` for as long as it reads; who exchanges read models takes that lock for itself. So
the names of all tables mean the same read model within one reading, whatever is renamed meanwhile.
"""

import queue
import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from time import monotonic, sleep

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.postgres_hosts import TIMELINE_SQL, hosts_of
from projections.amounts import Stored, stored
from projections.database import CHUNK_ROWS, POSITIONS_DDL, Row, Value
from projections.dialects import POSTGRES, PostgresDialect, array_of, without_nul
from projections.errors import ReadModelUnavailable

CONNECT_TIMEOUT_S = 5
MAX_READERS = 4
"""Of one process: a server has a hundred connections for all of them."""
WAIT_FOR_READER_S = 5.0
OPENING_TIMEOUT_S = 2.0
OPENING_PERIOD_S = 0.02
READ_LIMIT_S = 30
KEEPALIVE = "tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2"
"""So that the server misses a machine that is gone within seconds, and with it the lock that it held."""

Connection = psycopg.Connection[Row]

_INSERT = re.compile(r"INSERT INTO (\w+)(?: \(([^)]*)\))? VALUES \(\?(?:, \?)*\)(.*)", re.DOTALL)


class _Exact(Loader):
    """A NUMERIC of ours is a whole number, and comes as SQLite gives it: the same rows are the same bytes."""

    def load(self, data: Buffer) -> Stored:
        return stored(int(bytes(data)))


def connect(dsn: str, schema: str, *settings: str) -> Connection:
    """A session whose tables are those of a schema. Raises psycopg.OperationalError."""
    connection = hosts_of(conninfo_to_dict(dsn)).open(lambda host: _connected(make_conninfo(dsn, **host)), _timeline)
    chosen = ("jit = off", f"search_path = {schema}", KEEPALIVE, *settings)
    try:
        connection.execute("; ".join(f"SET {setting}" for setting in chosen).encode(), prepare=False)
    except BaseException:
        connection.close()
        raise
    return connection


def _connected(dsn: str) -> Connection:
    connection: Connection = psycopg.connect(
        dsn,
        target_session_attrs="read-write",  # of several hosts the one that the ledger writes
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="veloera read models",
        keepalives_idle=2,
        keepalives_interval=1,
        keepalives_count=3,
        client_encoding="utf8",
    )
    connection.adapters.register_loader("numeric", _Exact)
    return connection


def _timeline(connection: Connection) -> int:
    ((found,),) = connection.execute(TIMELINE_SQL).fetchall()
    assert isinstance(found, int), "the server was asked for a number"
    return found


@lru_cache(maxsize=512)
def translated(portable: str) -> bytes:
    """Portable SQL as psycopg takes it."""
    return portable.replace("%", "%%").replace("?", "%s").encode()


class PostgresCursor:
    """Writes within one transaction."""

    dialect: PostgresDialect = POSTGRES

    def __init__(self, cursor: psycopg.Cursor[Row], inserts: dict[str, bytes]) -> None:
        self._cursor = cursor
        self._inserts = inserts

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def execute(self, portable: str, values: Sequence[Value] = (), /) -> psycopg.Cursor[Row]:
        return self._cursor.execute(translated(portable), values)

    def executemany(self, portable: str, rows: Sequence[Sequence[Value]], /) -> None:
        """One statement for all rows: an array for each column, so that what is sent once is parsed once."""
        if not rows:
            return
        insert = self._inserts.get(portable)
        if insert is None:
            insert = self._inserts[portable] = self._in_bulk(portable)
        self._cursor.execute(insert, [array_of(column) for column in zip(*rows, strict=True)])

    def _in_bulk(self, portable: str) -> bytes:
        found = _INSERT.fullmatch(portable)
        assert found is not None, f"only an INSERT is carried out for many rows, not: {portable}"
        table, named, rest = found.groups()
        types: dict[str, str] = dict(
            self._cursor.execute(
                """SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
                    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum""",
                (table,),
            ).fetchall()
        )
        columns = [name.strip() for name in named.split(",")] if named else list(types)
        arrays = ", ".join(f"%s::{types[column]}[]" for column in columns)
        return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays}){rest}".encode()


class PostgresReader:
    """Questions to a session."""

    dialect: PostgresDialect = POSTGRES

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, portable: str, values: Sequence[Value] = (), /) -> psycopg.Cursor[Row]:
        cleaned = [without_nul(value) if isinstance(value, str) else value for value in values]
        return self._connection.execute(translated(portable), cleaned)

    def chunks(self, portable: str, /) -> Iterator[list[Row]]:
        with self._connection.cursor(name="chunks") as cursor:
            cursor.execute(translated(portable))
            while rows := cursor.fetchmany(CHUNK_ROWS):
                yield rows


class PostgresFolder:
    """A session that writes. Not before the seat is taken, or in a schema that nobody else knows.

    synchronous_commit=off: after a crash of the server some commits may be missing, rows and positions alike, and are folded
    again. A fold looks rows up by their keys and nothing else, whatever the planner knows of a table that has just begun.
    """

    dialect: PostgresDialect = POSTGRES

    def __init__(self, connection: Connection, schema: str) -> None:
        self.connection = connection
        self._inserts: dict[str, bytes] = {}
        if connection.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone() == (None,):
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        connection.execute(POSTGRES.ddl(POSITIONS_DDL).encode())

    @staticmethod
    def session(dsn: str, schema: str) -> Connection:
        return connect(
            dsn,
            schema,
            "synchronous_commit = off",
            "enable_seqscan = off",
            "enable_hashjoin = off",
            "enable_mergejoin = off",
            "lock_timeout = '10s'",
            "idle_in_transaction_session_timeout = '10min'",
        )

    @classmethod
    def open(cls, dsn: str, schema: str) -> "PostgresFolder":
        connection = cls.session(dsn, schema)
        try:
            return cls(connection, schema)
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def transaction(self) -> Generator[PostgresCursor]:
        with self.connection.transaction(), self.connection.cursor() as cursor:
            yield PostgresCursor(cursor, self._inserts)

    @contextmanager
    def reading(self) -> Generator[PostgresReader]:
        with self.connection.transaction():
            yield PostgresReader(self.connection)

    def close(self) -> None:
        self.connection.close()


class PostgresReaders:
    """Sessions that only read, for any thread, and few of them: who comes when all are busy waits."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue(MAX_READERS)
        self._free = threading.BoundedSemaphore(MAX_READERS)
        self._closed = False

    @contextmanager
    def reading(self) -> Generator[PostgresReader]:
        """Raises ReadModelUnavailable when there is nothing to read."""
        with self.session(begin_reading) as connection:
            yield PostgresReader(connection)

    @contextmanager
    def session(self, begin: Callable[[Connection], object]) -> Generator[Connection]:
        """A session on which `begin` was carried out. Raises ReadModelUnavailable."""
        if not self._free.acquire(timeout=WAIT_FOR_READER_S):
            raise ReadModelUnavailable(f"all {MAX_READERS} readers are busy: ask again later")
        try:
            connection = self._begun(begin)
            try:
                yield connection
            except psycopg.Error as error:
                raise ReadModelUnavailable(f"schema {self._schema} cannot be read: {error}") from error
            finally:
                self._end(connection)
        finally:
            self._free.release()

    def close(self) -> None:
        self._closed = True
        while (connection := self._idle_one()) is not None:
            connection.close()

    def _begun(self, begin: Callable[[Connection], object]) -> Connection:
        """On an idle session, unless it is broken by now; else on a new one, for as long as there is hope."""
        while (idle := self._idle_one()) is not None:
            try:
                begin(idle)
                return idle
            except psycopg.Error:
                idle.close()
        deadline = monotonic() + OPENING_TIMEOUT_S
        while True:
            try:
                return self._new(begin)
            except psycopg.Error as error:
                if monotonic() >= deadline:
                    raise ReadModelUnavailable(f"schema {self._schema} cannot be read: {error}") from error
            sleep(OPENING_PERIOD_S)

    def _new(self, begin: Callable[[Connection], object]) -> Connection:
        connection = connect(self._dsn, self._schema, f"statement_timeout = '{READ_LIMIT_S}s'")
        connection.prepare_threshold = None  # a plan for any value is a poor one for most
        try:
            begin(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _end(self, connection: Connection) -> None:
        with suppress(psycopg.Error, queue.Full):
            connection.rollback()
            if not self._closed:
                self._idle.put_nowait(connection)
                return
        connection.close()

    def _idle_one(self) -> Connection | None:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return None


def begin_reading(connection: Connection) -> None:
    """The lock comes first: LOCK takes no snapshot, so that what is seen is not older than what the names mean."""
    connection.execute(
        b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE positions IN ACCESS SHARE MODE", prepare=False
    )
