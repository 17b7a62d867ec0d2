"""The connections for everything that is no commit: a few, made when they are needed, never the writer's.

A pool of a library keeps threads that go on trying a server that is away, ever more slowly; here whoever asks tries, so the first
question after the server is back is answered.
"""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import LiteralString, NamedTuple

import psycopg
from psycopg.rows import TupleRow

from ledger.errors import LedgerUnavailable
from ledger.postgres_connection import Address, Link

CHECKED_AFTER_S = 1.0
"""A connection that lay idle longer is asked whether it still lives before it is trusted."""
CHECK_ANSWER_S = 2.0


class _Idle(NamedTuple):
    link: Link
    since: float


class Readers:
    """At most `size` connections. Any thread may ask."""

    def __init__(self, address: Address, connect: Callable[[], Link], size: int) -> None:
        self._address = address
        self._connect = connect
        self._size = size
        self._free = threading.BoundedSemaphore(size)
        self._idle: list[_Idle] = []
        self._lock = threading.Lock()
        self._closed = False

    def rows(self, sql: LiteralString, parameters: Sequence[object]) -> list[TupleRow]:
        """What a question answers. Asked once more where a connection broke on the way: it changes nothing.

        Raises LedgerUnavailable.
        """
        try:
            return self._rows(sql, parameters)
        except _Broken:
            self._forget()  # the second time on a connection that was made since
            with self._reading("read"):
                return self._rows(sql, parameters)

    def write(self, sql: LiteralString, parameters: Sequence[object]) -> int:
        """A statement that is no commit of the ledger; how many rows it changed. Raises LedgerUnavailable."""
        with self._reading("written"), self._one() as link:
            return link.execute(sql, parameters).rowcount

    def close(self) -> None:
        self._closed = True
        self._forget()

    def _rows(self, sql: LiteralString, parameters: Sequence[object]) -> list[TupleRow]:
        link: Link | None = None
        try:
            with self._one() as link:
                return link.execute(sql, parameters, binary=True).fetchall()
        except psycopg.OperationalError as error:
            if link is not None and link.closed:
                raise _Broken from error
            raise self._address.unavailable("read", error) from error

    @contextmanager
    def _reading(self, what: str) -> Generator[None]:
        try:
            yield
        except _Broken as error:
            raise LedgerUnavailable(
                f"the ledger at {self._address} cannot be {what}: the connection broke twice"
            ) from error
        except psycopg.OperationalError as error:
            raise self._address.unavailable(what, error) from error

    @contextmanager
    def _one(self) -> Generator[Link]:
        if not self._free.acquire(timeout=self._address.limits.answer_s):
            raise LedgerUnavailable(f"all {self._size} connections for reading the ledger are busy")
        try:
            link = self._taken() or self._connect()
            try:
                yield link
            finally:
                self._put_back(link)
        finally:
            self._free.release()

    def _taken(self) -> Link | None:
        """An idle connection that works, the last used one first; None when there is none."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                link, since = self._idle.pop()
            if monotonic() - since < CHECKED_AFTER_S:
                return link
            link.until = monotonic() + CHECK_ANSWER_S
            with suppress(psycopg.OperationalError):
                link.execute("SELECT 1")
                link.until = float("inf")
                return link
            self._forget(link)

    def _forget(self, *links: Link) -> None:
        """Close these and every idle one: what one server did to a connection, it did to those beside it."""
        with self._lock:
            idle, self._idle = self._idle, []
        for link in (*links, *(each.link for each in idle)):
            link.close()

    def _put_back(self, link: Link) -> None:
        with self._lock:
            if not link.closed and not self._closed:
                self._idle.append(_Idle(link, monotonic()))
                return
        link.close()


class _Broken(Exception):
    """The connection went away while it was asked."""
