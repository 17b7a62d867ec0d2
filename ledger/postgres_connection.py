"""A connection to the server that answers within a bound or is closed: no wait is endless, whatever became of the server.

What a message says of a server never holds its password.
"""

from collections.abc import Mapping
from time import monotonic
from typing import NamedTuple, TypeVar

import psycopg
from psycopg.abc import Buffer, ConnParam, PQGen
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format
from psycopg.rows import TupleRow

from ledger.errors import LedgerUnavailable, StoreRefused
from ledger.postgres_arrays import DUMPERS
from ledger.postgres_hosts import TIMELINE_SQL, hosts_of

RV = TypeVar("RV")

EXPECTED = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, several hosts separated by commas"
LOOK_EVERY_S = 0.1
CONNECTED = (
    ("target_session_attrs", "read-write"),  # of several hosts the one that may be written: follows a fail-over
    ("application_name", "veloera"),
    ("client_encoding", "UTF8"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
)
"""Used where the connection string says nothing else. Keepalives: a silent peer is given up after 25 s."""


LOOK_UP = {
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "enable_nestloop": "off",
    "max_parallel_workers_per_gather": 0,
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
"""Everything we ask goes by a key, and a plan is made once and kept: made while a table was empty, it would go on reading the whole
of it when it is full."""


class Limits(NamedTuple):
    """How long the store waits for what. The server keeps the first ones; `answer_s` holds when it does not answer at all."""

    lock_s: float = 8
    """For one lock."""
    statement_s: float = 10
    """For one statement, its locks included."""
    idle_in_transaction_s: float = 5
    """Between two statements of a transaction: a process that stops in a commit holds up the others no longer."""
    connect_s: int = 3
    """For each host; at least 2, says libpq."""
    tcp_user_timeout_s: float = 8
    """For data that the other machine does not acknowledge."""
    answer_s: float = 12
    """For any one answer."""
    reconnect_s: float = 5
    """For a server that was there a moment ago: a fail-over within this time is not seen by callers."""
    commit_s: float = 30
    """For a whole commit, everything above included. The bound that callers may count on."""
    snapshot_s: float = 600
    """For one statement of a long read, and between two of them."""


class Link(psycopg.Connection[TupleRow]):
    """A connection whose waits end: at `answer_s`, or earlier at the moment `until`. It is closed then."""

    answer_s: float = 12
    until: float = float("inf")

    def wait(self, gen: PQGen[RV], interval: float = LOOK_EVERY_S, timeout: float | None = None) -> RV:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        ends = min(monotonic() + self.answer_s, self.until)
        try:
            return super().wait(gen, interval, max(0.0, ends - monotonic()))
        except psycopg.OperationalError as error:
            if monotonic() < ends:
                raise
            self.close()  # what it would answer after this is no answer to anything
            raise psycopg.OperationalError("the server did not answer in time") from error


class Address:
    """Where the ledger is: a connection string, checked, with our bounds; prints without its secrets."""

    def __init__(self, dsn: str, *, schema: str = "veloera", limits: Limits | None = None) -> None:
        """Raises StoreRefused for what is no connection string, or no name for a schema."""
        if not (schema.isascii() and schema.isidentifier() and schema == schema.lower() and len(schema) <= 40):
            raise StoreRefused(f"{schema!r} is no name for a schema: expected up to 40 of a-z, 0-9 and _")
        try:
            self._given = conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            # libpq quotes what it could not read, and with it the password.
            raise StoreRefused(f"SQL_DSN is no connection string of PostgreSQL: {EXPECTED}") from None
        if "@" in str(self._given.get("host")):
            raise StoreRefused("SQL_DSN has an @ in its password: write it %40, or the rest is taken for the host")
        self._hosts = hosts_of(self._given)
        self.schema = schema
        self.limits = limits or Limits()

    def __str__(self) -> str:
        parts = (f"{name}={self._given[name]}" for name in ("host", "port", "dbname", "user") if name in self._given)
        return f"PostgreSQL {' '.join(parts)}".strip()

    def conninfo(self, purpose: str, settings: Mapping[str, object]) -> str:
        """The whole connection string of one kind of connection. Secret."""
        limits = self.limits
        bounds: dict[str, object] = {
            "search_path": self.schema,
            "lock_timeout": f"{limits.lock_s * 1000:.0f}ms",
            "statement_timeout": f"{limits.statement_s * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": f"{limits.idle_in_transaction_s * 1000:.0f}ms",
            # The server, too, gives up a machine that is gone: it would keep its locks for hours.
            "tcp_keepalives_idle": 10,
            "tcp_keepalives_interval": 5,
            "tcp_keepalives_count": 3,
            "tcp_user_timeout": f"{limits.tcp_user_timeout_s * 1000:.0f}ms",
            "client_min_messages": "warning",
            **LOOK_UP,
        }
        options = " ".join(f"-c {name}={value}" for name, value in {**bounds, **settings}.items())
        ours: dict[str, ConnParam] = dict(CONNECTED)
        ours |= {"connect_timeout": limits.connect_s, "tcp_user_timeout": f"{limits.tcp_user_timeout_s * 1000:.0f}"}
        ours |= {"fallback_application_name": f"veloera {purpose}"}
        given = {name: value for name, value in self._given.items() if name != "options"}
        return make_conninfo(
            "", **{**ours, **given, "options": f"{self._given.get('options') or ''} {options}".strip()}
        )

    def connect(self, purpose: str, **settings: object) -> Link:
        """A new connection in autocommit, with these settings of the server besides ours.

        Raises LedgerUnavailable when there is no server that may be written, or it takes no connection.
        """
        told = self.conninfo(purpose, settings)
        try:
            link = self._hosts.open(lambda host: self._opened(make_conninfo(told, **host)), _timeline)
        except psycopg.OperationalError as error:
            raise self.unavailable("reached", error) from error
        for array, dumper in DUMPERS:
            link.adapters.register_dumper(array, dumper)
        for loader in (HexOfText, HexOfBinary):
            link.adapters.register_loader("uuid", loader)
        return link

    def _opened(self, conninfo: str) -> Link:
        link = Link.connect(conninfo, autocommit=True, prepare_threshold=1)
        link.answer_s = self.limits.answer_s
        return link

    def unavailable(self, what: str, error: psycopg.Error) -> LedgerUnavailable:
        said = " ".join(str(error).split())
        password = str(self._given.get("password") or "")
        said = said.replace(password, "***") if password else said
        return LedgerUnavailable(f"the ledger at {self} cannot be {what}: {said}")


def _timeline(link: Link) -> int:
    return int(link.execute(TIMELINE_SQL).fetchall()[0][0])


class HexOfText(Loader):
    """A UUID as the 32 hex digits of a stream id."""

    format = Format.TEXT

    def load(self, data: Buffer) -> str:
        return bytes(data).decode().replace("-", "")


class HexOfBinary(Loader):
    """A UUID as the 32 hex digits of a stream id."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return bytes(data).hex()
