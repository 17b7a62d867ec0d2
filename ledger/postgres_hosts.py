"""Of the servers that a connection string names, the one that took over last: a primary that was replaced and comes back is left alone.

It takes commits as it ever did, and has not heard of the one in its place. But each promotion begins a new timeline, and whoever has
seen a later one never goes back.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from time import monotonic
from typing import Protocol, TypeVar

import psycopg

TIMELINE_SQL = """SELECT CASE WHEN pg_is_in_recovery() THEN 0
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END"""
"""0 on a standby."""


class Session(Protocol):
    """A connection of whatever kind."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Session)
Host = tuple[tuple[str, str], ...]
"""Its part of a connection string: names and values."""

SILENT_S = 1.0
LEFT_ALONE_S = 10.0
"""For so long nobody waits again for a host that did not answer."""


class Hosts:
    """The servers of one connection string, and the latest timeline that this process has seen on any of them."""

    def __init__(self, each: tuple[Host, ...]) -> None:
        self._each = each
        self._newest = 0
        self._silent_until: dict[Host, float] = {}

    def open(self, connect: Callable[[Mapping[str, str]], S], timeline: Callable[[S], int]) -> S:
        """`connect` to the right one of them, given its part of the connection string.

        Each is asked every time: a process that slept through a promotion has seen no later timeline, and would believe whoever is
        named first. Raises psycopg.OperationalError, also when all that answer have been replaced.
        """
        found: S | None = None
        failure = psycopg.OperationalError("no server is named")
        is_replaced = False
        for host in self._speaking():
            began = monotonic()
            try:
                session = connect(dict(host))
                is_newest = self._is_newest(session, timeline)
            except psycopg.OperationalError as error:
                failure = error
                if monotonic() - began > SILENT_S:
                    self._silent_until[host] = monotonic() + LEFT_ALONE_S
                continue
            if is_newest:
                if found is not None:
                    found.close()
                found = session
            else:
                is_replaced = True
        if found is not None:
            return found
        if is_replaced:
            raise psycopg.OperationalError(
                f"a later server has taken the place of the one that answers (timeline {self._newest}); where it was replaced "
                "on purpose, as by a restored dump, start this process again"
            )
        raise failure

    def _speaking(self) -> list[Host]:
        """All of them, or those that did not keep us waiting a moment ago."""
        now = monotonic()
        return [host for host in self._each if self._silent_until.get(host, 0) < now] or list(self._each)

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


def hosts_of(given: Mapping[str, object]) -> Hosts:
    """Of a connection string, parsed. The same for everybody who names the same servers: what one has seen, all know."""
    return _hosts_of(*(str(given.get(name) or "") for name in ("host", "hostaddr", "port")))


@lru_cache(maxsize=256)
def _hosts_of(host: str, hostaddr: str, port: str) -> Hosts:
    """Of lists as libpq takes them."""
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
