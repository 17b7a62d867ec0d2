"""Who gets which connection. The caps hold at every moment, and whoever waits is served in the order of arrival.

A *seat* is the right to one connection of an origin: taken before it is dialled, kept while it lives, handed on with it.
"""

import asyncio
from collections import OrderedDict
from itertools import count
from typing import NamedTuple

from relay.errors import UpstreamUnreachable
from relay.lean.answer import LeanAnswer
from relay.lean.connection import Connection, Stale
from relay.lean.dial import Dialer
from relay.lean.wire import Origin, place
from relay.upstream import Sending

IDLE_S = 30.0
MAX_REUSE = 1000
"""Requests on one connection: an origin whose addresses change is seen to have changed."""
MAX_WAITING = 4096
MAX_TARGETS = 1024
CLOSING_S = 5.0

Waiter = asyncio.Future[Connection | None]


class Site:
    """One origin: its connections, and who waits for one."""

    __slots__ = ("idle", "origin", "seats", "waiting")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle: list[Connection] = []
        """The one used last is at the end, and is taken first."""
        self.seats = 0
        self.waiting: OrderedDict[Waiter, int] = OrderedDict()
        """Each with its number in the order of arrival. It is given a connection, or None: a seat to dial for."""


class Target(NamedTuple):
    """A URL: the site that serves it, and a request's head after the method."""

    site: Site
    rest: bytes


class Pool:
    """Connections to many origins: at most `connections` in all, `per_origin` to one (0: no cap of its own)."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        connections: int,
        per_origin: int = 0,
        max_waiting: int = MAX_WAITING,
        idle_s: float = IDLE_S,
    ) -> None:
        assert connections > 0, "a pool without connections serves nobody"
        self.targets: dict[str, Target] = {}
        self._dialer = dialer
        self._connections = connections
        self._per_origin = per_origin or connections
        self._max_waiting = max_waiting
        self._idle_s = idle_s
        self._sites: dict[Origin, Site] = {}
        self._with_waiters: dict[Site, None] = {}
        self._seats = 0
        self._alive: set[Connection] = set()
        self._arrivals = count(1)
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None
        self._closed = False

    @property
    def open_connections(self) -> int:
        return len(self._alive)

    @property
    def idle_connections(self) -> int:
        return sum(len(site.idle) for site in self._sites.values())

    @property
    def waiting(self) -> int:
        return sum(len(site.waiting) for site in self._with_waiters)

    @property
    def seats(self) -> int:
        """Connections that are open or being opened."""
        return self._seats

    def target(self, url: str) -> Target:
        """Where a URL is served. Raises UpstreamUnreachable."""
        found = self.targets.get(url)
        if found is not None:
            return found
        where = place(url)
        if len(self.targets) >= MAX_TARGETS:
            self.targets.clear()
            self._sites = {origin: site for origin, site in self._sites.items() if site.seats or site.waiting}
        site = self._sites.setdefault(where.origin, Site(where.origin))
        target = self.targets[url] = Target(site, where.rest)
        return target

    async def exchange(self, site: Site, message: bytes, sending: Sending, *, bodiless: bool = False) -> LeanAnswer:
        """Send a request and read its answer's head. Raises UpstreamUnreachable, UpstreamCut.

        A connection that was closed as it was taken, without a byte of an answer, is replaced by a fresh one, once.
        """
        connection = self._take_idle(site) or await self._acquire(site)
        answer = connection.ask(message, sending, bodiless=bodiless)
        try:
            await answer.opened()
        except Stale:
            sending.whole = False
            connection = await self._acquire(site, fresh=True)
            answer = connection.ask(message, sending, bodiless=bodiless)
            await answer.opened()
        return answer

    async def close(self) -> None:
        """Close every connection; who waits or comes is told that the pool is closed."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for site in self._sites.values():
            for waiter in site.waiting:
                if not waiter.done():
                    waiter.set_exception(_closed())
            site.waiting.clear()
        self._with_waiters.clear()
        for connection in tuple(self._alive):
            connection.discard()
        if self._alive:
            self._emptied = asyncio.Event()
            async with asyncio.timeout(CLOSING_S):
                await self._emptied.wait()

    def opened(self, connection: Connection) -> None:
        self._alive.add(connection)

    def lost(self, connection: Connection) -> None:
        self._alive.discard(connection)
        if self._emptied is not None and not self._alive:
            self._emptied.set()

    def freed(self, connection: Connection) -> None:
        """A connection may carry another request: the one that has waited longest, if it may use its seat."""
        if self._closed or connection.served >= MAX_REUSE:
            connection.discard()
            return
        site = connection.site
        if self._with_waiters:
            longest = self._longest(site)
            if longest is site:
                self._pop(site).set_result(connection)
                return
            if longest is not None:
                connection.discard()
                return
        self._rest(connection)

    def vacated(self, connection: Connection) -> None:
        site = connection.site
        if connection.is_idle:
            connection.is_idle = False
            site.idle.remove(connection)
        if connection.is_seated:
            connection.is_seated = False
            self._vacate(site)

    def _take_idle(self, site: Site) -> Connection | None:
        while site.idle:
            connection = site.idle.pop()
            connection.is_idle = False
            if connection.is_usable:
                return connection
            connection.discard()
        return None

    async def _acquire(self, site: Site, *, fresh: bool = False) -> Connection:
        """A connection that is nobody else's, or a new one. `fresh`: a new one, and ahead of all who wait."""
        if self._closed:
            raise _closed()
        while not self._seat(site):
            connection = await self._wait(site, first=fresh)
            if connection is None:
                break
            if connection.is_usable and not fresh:
                return connection
            connection.is_seated = False
            connection.discard()
            if ...:
                break
        return await self._dial(site)
