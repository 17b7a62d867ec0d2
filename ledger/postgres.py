"""The store on PostgreSQL: any number of processes on any number of machines write one ledger, in turn.

What was acknowledged is there, once: a commit whose answer was lost is looked for, and made again only where it is certain that it
was not made. Every wait has a bound; a server that is back, or another one that took its place, is found without a restart.
"""

import random
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from time import monotonic
from typing import Literal, LiteralString

import psycopg
from psycopg.rows import TupleRow

from domain.books import Decision, Result
from domain.commands import Command
from ledger.errors import LedgerUnavailable
from ledger.postgres_arrays import byteas, texts
from ledger.postgres_commit import Attempt, Committing, MoreToLock, OutcomeUnknown
from ledger.postgres_connection import Address, Limits, Link
from ledger.postgres_lead import HELD, ServerLead, key_of
from ledger.postgres_readers import Readers
from ledger.postgres_reading import SEAL_COLUMNS, PostgresReader, Snapshot
from ledger.postgres_recorder import PostgresRecorder, recorder_at
from ledger.postgres_schema import check, migrate, turn_key
from ledger.store import Seal, Session

Durability = Literal["full", "process"]

SYNCHRONOUS_COMMIT: dict[Durability, str] = {"full": "on", "process": "local"}
MAX_COLLISIONS = 8
"""Deadlocks and the like: none is expected, and each lets somebody else go on."""


class PostgresStore(PostgresReader):
    """A LedgerStore in one schema of a PostgreSQL database (16 or newer).

    `durability`: "full" waits for the disk of the server, and for its synchronous standbys where it has some: nothing acknowledged
    is lost with one machine. "process" waits for the disk of the server alone: it survives `kill -9` of any process, PostgreSQL's
    included, and a loss of power, and may lose the last commits when the whole server is lost and a standby takes over. (Neither
    outlives a server that runs with fsync=off.) Transaction pooling (PgBouncer) is not supported: locks and settings belong to a session.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "veloera",
        durability: Durability = "full",
        readers: int = 4,
        migrate: bool = True,
        limits: Limits | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Open a ledger, making or migrating its tables unless `migrate` is False. `clock`, in ms, stands in for the server's.

        Raises StoreRefused for a schema that does not fit, LedgerUnavailable when there is no server.
        """
        self.address = Address(dsn, schema=schema, limits=limits)
        self._settings: dict[str, object] = {"synchronous_commit": SYNCHRONOUS_COMMIT[durability]}
        self._clock = clock
        (_migrate if migrate else check)(self.address)
        self._readers = Readers(self.address, lambda: self.address.connect("reads", **self._settings), readers)
        self._link: Link | None = None
        self._committing: Committing | None = None
        self._was_there = True
        self.retries = 0
        """Commits that were begun again: for a collision, a lost connection, an account more to lock."""

    @cached_property
    def recorder(self) -> PostgresRecorder:
        """The event-sourcing library's view of the log, on connections of its own."""
        return recorder_at(self.address)

    def commit(self, batch: Sequence[Command]) -> list[Result]:
        """Decide and write a batch in one transaction.

        Raises LedgerUnavailable when it cannot be written, within `limits.commit_s`. It says so where COMMIT was sent and its outcome
        could not be learned: then ask again with the same names.
        """
        effort = _Effort(monotonic() + self.address.limits.commit_s)
        more: frozenset[str] = frozenset()
        self.retries -= 1
        while True:
            self.retries += 1
            try:
                decision = self._try(batch, more, effort)
            except MoreToLock as error:
                more |= error.accounts
                self._give_up_transaction()
            except OutcomeUnknown as unknown:
                effort.unknown = unknown.attempt
                self._drop_link()
            except psycopg.Error as error:
                self._give_up_transaction()
                self._judge(error, effort)
            except LedgerUnavailable as error:
                self._wait_for_server(error, effort)
            except BaseException:
                self._give_up_transaction()
                raise
            else:
                self._was_there = True
                return decision.results

    def add_to_keyring(self, entries: dict[str, bytes]) -> None:
        sql = "INSERT INTO keyring (name, wrapped) SELECT * FROM unnest(%b, %b) ON CONFLICT DO NOTHING"
        names = sorted(entries)
        self._readers.write(sql, (texts(names), byteas([entries[name] for name in names])))

    @contextmanager
    def snapshot(self) -> Generator[Snapshot]:
        limit_s = self.address.limits.snapshot_s
        patient = {
            "statement_timeout": f"{limit_s:.0f}s",
            "idle_in_transaction_session_timeout": f"{limit_s:.0f}s",
        }
        link = self.address.connect("snapshot", **patient)
        link.answer_s = limit_s
        try:
            yield Snapshot(self.address, link)
        finally:
            link.close()

    def version_of_data(self) -> int:
        return self.head()

    def append_seal(self, seal: Seal) -> bool:
        sql = (
            f"""INSERT INTO seals ({SEAL_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
        )
        return self._readers.write(sql, seal) > 0

    def lead(self, name: str) -> ServerLead | None:
        key = key_of(self.address, name)
        if self._all(HELD, (key, key)):
            return None
        return ServerLead.taken(self.address, name)

    def put_session(self, session: Session) -> None:
        sql = """INSERT INTO sessions (digest, "user", began_at_ms, expires_at_ms) VALUES (%s, %s, %s, %s)
            ON CONFLICT (digest) DO UPDATE SET "user" = excluded."user", began_at_ms = excluded.began_at_ms,
                expires_at_ms = excluded.expires_at_ms"""
        self._readers.write(sql, session)

    def end_session(self, digest: str) -> bool:
        return self._readers.write("DELETE FROM sessions WHERE digest = %s", (digest,)) > 0

    def end_sessions_of(self, user_id: int) -> int:
        return self._readers.write('DELETE FROM sessions WHERE "user" = %s', (user_id,))

    def forget_sessions(self, before_ms: int, limit: int = 1000) -> int:
        sql = """DELETE FROM sessions WHERE digest = ANY (ARRAY
            (SELECT digest FROM sessions WHERE expires_at_ms < %s ORDER BY expires_at_ms LIMIT %s))"""
        return self._readers.write(sql, (before_ms, limit))

    def close(self) -> None:
        self._drop_link()
        self._readers.close()
        if "recorder" in self.__dict__:
            self.recorder.datastore.close()

    def _all(self, sql: LiteralString, parameters: Sequence[object]) -> list[TupleRow]:
        return self._readers.rows(sql, parameters)

    def _try(self, batch: Sequence[Command], more: frozenset[str], effort: "_Effort") -> Decision:
        """One try: what an earlier one left unknown first."""
        committing = self._connected(effort.until)
        if effort.unknown is not None:
            attempt = effort.unknown
            if committing.landed(attempt):
                return attempt.decision
            effort.unknown = None
        return committing.commit(batch, more)

    def _connected(self, until: float) -> Committing:
        if self._link is None or self._committing is None or self._link.closed:
            self._link = self.address.connect("commits", **self._settings)
            self._committing = Committing(self._link, turn_key(self.address.schema), self._clock)
        self._link.until = until
        return self._committing

    def _judge(self, error: psycopg.Error, effort: "_Effort") -> None:
        """Return to try again; raise where that is no use."""
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            self._drop_link()  # this server has become a standby: another one may be written
        if isinstance(error, COLLISIONS) and effort.collisions < MAX_COLLISIONS:
            effort.collisions += 1
            time.sleep(random.uniform(0, 0.01) * effort.collisions)  # so that the same two do not meet again
        elif self._link is None and isinstance(error, psycopg.OperationalError | psycopg.InternalError):
            self._wait_for_server(self.address.unavailable("written", error), effort)
        elif isinstance(error, UNAVAILABLE):
            raise self.address.unavailable("written", error) from error
        else:
            raise error

    def _wait_for_server(self, error: LedgerUnavailable, effort: "_Effort") -> None:
        """The connection is gone: sleep a little before the next try; raise when the time for that is over."""
        if effort.patient_until is None:
            # Callers wait for a server that was there a moment ago; one that is known to be away is tried once.
            effort.patient_until = monotonic() + (self.address.limits.reconnect_s if self._was_there else 0)
        left_s = (effort.until if effort.unknown else min(effort.until, effort.patient_until)) - monotonic()
        if left_s <= 0:
            self._was_there = False
            if effort.unknown:
                raise LedgerUnavailable(f"{error}; whether the last commit was made is not known: ask again") from error
            raise error
        effort.pause_s = min(2 * effort.pause_s, 0.5, left_s)
        time.sleep(effort.pause_s)

    def _give_up_transaction(self) -> None:
        """After an error: nothing of it stays, and the next try finds a connection that can be used, or none."""
        try:
            if self._committing is not None:
                self._committing.roll_back()
        except psycopg.Error:
            self._drop_link()
        if self._link is not None and self._link.closed:
            self._drop_link()

    def _drop_link(self) -> None:
        link, self._link, self._committing = self._link, None, None
        if link is not None:
            with suppress(psycopg.Error):
                link.close()


class _Effort:
    """What one commit has gone through."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.patient_until: float | None = None
        self.collisions = 0
        self.pause_s = 0.02
        self.unknown: Attempt | None = None


_migrate = migrate
COLLISIONS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.UniqueViolation,
)
UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InternalError,
    psycopg.InterfaceError,
    psycopg.errors.InsufficientPrivilege,
)
