"""Of the servers that a connection string names, the one that took over last: a primary that was replaced and comes back is left alone.

It takes commits as it ever did, and has not heard of the one in its place. But each promotion begins a new timeline, and whoever has
seen a later one never goes back.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol, TypeVar

import psycopg

TIMELINE_SQL = """SELECT CASE WHEN pg_is_in_recovery() THEN 0
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END"""
"""0 on a standby."""


class Session(Protocol):
    """A connection of whatever kind."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Session)


class Hosts:
    """The servers of one connection string, and the latest timeline that this process has seen on any of them."""

    def __init__(self, each: tuple[tuple[tuple[str, str], ...], ...]) -> None:
        self._each = each
        self._newest = 0

    def open(self, connect: Callable[[Mapping[str, str]], S], timeline: Callable[[S], int]) -> S:
        """`connect` to one of them, given its part of the connection string, or to whichever libpq chooses, given nothing.

        Raises psycopg.OperationalError, also when all that answers has been replaced.
        """
        if len(self._each) == 1 or self._newest:
            session = connect({})
            if self._is_newest(session, timeline):
                return session
        return self._ask_each(connect, timeline)

    def _ask_each(self, connect: Callable[[Mapping[str, str]], S], timeline: Callable[[S], int]) -> S:
        found: S | None = None
        failure = psycopg.OperationalError(
            f"a later server has taken the place of all that answer (its timeline is {self._newest}): "
            "where it was replaced on purpose, as by a restored dump, start this process again"
        )
        for host in self._each:
            try:
                session = connect(dict(host))
            except psycopg.OperationalError as error:
                failure = failure if self._newest else error
                continue
            if self._is_newest(session, timeline):
                if found is not None:
                    found.close()
                found = session
        if found is None:
            raise failure
        return found

    def _is_newest(self, session: S, timeline: Callable[[S], int]) -> bool:
        """Closes it when it is not."""
        try:
            of_session = timeline(session)
        except BaseException:
            session.close()
            raise
        if of_session < self._newest:
            session.close()
            return False
        self._newest = of_session
        return True


@lru_cache(maxsize=256)
def hosts_of(host: str, hostaddr: str, port: str) -> Hosts:
    """Lists as libpq takes them. The same object for everybody who names the same servers: what one has seen, all know."""
    lists = {
        name: value.split(",") for name, value in (("host", host), ("hostaddr", hostaddr), ("port", port)) if value
    }
    count = max((len(lists[name]) for name in ("host", "hostaddr") if name in lists), default=1)
    return Hosts(
        tuple(
            tuple((name, values[n] if len(values) > 1 else values[0]) for name, values in lists.items())
            for n in range(count)
        )
    )
