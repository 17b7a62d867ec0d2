"""The pool: a call takes a connection that is idle, one that becomes free, or dials its own; nothing else ever owns it."""

import asyncio
from typing import NamedTuple

from relay.errors import UpstreamUnreachable
from relay.lean.answer import LeanAnswer
from relay.lean.connection import Connection, Stale
from relay.lean.dial import Dialer
from relay.lean.seats import Seats, Site
from relay.lean.wire import Origin, place
from relay.reach import IDLE_S
from relay.upstream import Sending

MAX_REUSE = 1000
"""Requests on one connection: an origin whose addresses change is seen to have changed."""
MAX_TARGETS = 1024
CLOSING_S = 5.0

CLOSED = "the pool of connections is closed"


class Target(NamedTuple):
    """A URL: the site that serves it, and a request's head after the method."""

    site: Site
    rest: bytes


class Pool:
    """Connections to many origins, within `seats`. Idle ones are closed after `idle_s`."""

    def __init__(self, dialer: Dialer, seats: Seats, *, idle_s: float = IDLE_S) -> None:
        self.seats = seats
        self._dialer = dialer
        self._idle_s = idle_s
        self._targets: dict[str, Target] = {}
        self._sites: dict[Origin, Site] = {}
        self._alive: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None
        self._closed = False

    @property
    def open_connections(self) -> int:
        return len(self._alive)

    @property
    def idle_connections(self) -> int:
        return sum(len(site.idle) for site in self._sites.values())

    def target(self, url: str) -> Target:
        """Where a URL is served. Raises UpstreamUnreachable for what is no URL that can be called."""
        return self._targets.get(url) or self._look_up(url)

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
        """Close every connection, whatever it carries. Who waits or comes is refused."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self.seats.refuse_all(CLOSED)
        for connection in tuple(self._alive):
            connection.discard()
        if self._alive:
            self._emptied = asyncio.Event()
            async with asyncio.timeout(CLOSING_S):
                await self._emptied.wait()

    def lost(self, connection: Connection) -> None:
        self._alive.discard(connection)
        if self._emptied is not None and not self._alive:
            self._emptied.set()

    def freed(self, connection: Connection) -> None:
        """It goes to whoever has waited longest; its seat alone, if that is for another site."""
        site = connection.site
        if self._closed or connection.served >= MAX_REUSE or not connection.is_seated:
            connection.discard()
            return
        if self.seats.sites_waited_for:
            longest = self.seats.longest(site)
            if longest is site:
                self.seats.hand(site, connection)
                return
            if longest is not None:
                connection.discard()
                return
        self._rest(connection)

    def vacated(self, connection: Connection) -> None:
        if connection.is_idle:
            connection.is_idle = False
            connection.site.idle.remove(connection)
        if connection.is_seated:
            connection.is_seated = False
            self.seats.give_back(connection.site)

    def _look_up(self, url: str) -> Target:
        where = place(url)
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
            self._sites = {origin: site for origin, site in self._sites.items() if site.seats or site.waiting}
        site = self._sites.get(where.origin)
        if site is None:
            site = self._sites[where.origin] = Site(where.origin)
        target = self._targets[url] = Target(site, where.rest)
        return target

    def _take_idle(self, site: Site) -> Connection | None:
        while site.idle:
            connection = site.idle.pop()
            connection.is_idle = False
            if connection.is_usable:
                return connection
            connection.discard()
        return None

    async def _acquire(self, site: Site, *, fresh: bool = False) -> Connection:
        """A connection that was handed on, or a new one. `fresh`: a new one, and before all who wait."""
        while not self._closed:
            if self._take_seat(site):
                return await self._dial(site)
            connection = await self.seats.wait(site, first=fresh)
            if connection is None:
                return await self._dial(site)
            if connection.is_usable and not fresh:
                return connection
            if connection.is_seated:
                connection.is_seated = False
                connection.discard()
                return await self._dial(site)
        raise UpstreamUnreachable(CLOSED)

    def _take_seat(self, site: Site) -> bool:
        """A seat, if need be that of a connection that is idle elsewhere."""
        if self.seats.take(site):
            return True
        if self.seats.may_have_another(site):
            resting = [other.idle[0] for other in self._sites.values() if other.idle]
        else:
            resting = site.idle[:1]
        if not resting:
            return False
        min(resting, key=lambda connection: connection.idle_since).discard()
        return self.seats.take(site)

    async def _dial(self, site: Site) -> Connection:
        """Use a seat that was taken. It is given back when nothing comes of it."""
        connection = Connection(self, site)
        connection.is_seated = True
        try:
            await self._dialer.dial(site.origin, connection)
        except BaseException:
            connection.discard()
            raise
        # It may have ended before this task went on, or the pool.
        if not connection.is_open or self._closed:
            connection.discard()
            raise UpstreamUnreachable(CLOSED if self._closed else "the provider closed the connection as it was made")
        self._alive.add(connection)
        return connection

    def _rest(self, connection: Connection) -> None:
        connection.idle_since = connection.loop.time()
        connection.is_idle = True
        connection.site.idle.append(connection)
        if self._sweeper is None:
            self._sweeper = connection.loop.call_later(self._idle_s, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long, and come again when the next one is due."""
        loop = asyncio.get_running_loop()
        overdue = loop.time() - self._idle_s
        for site in self._sites.values():
            while site.idle and site.idle[0].idle_since <= overdue:
                site.idle[0].discard()
        due = min((site.idle[0].idle_since for site in self._sites.values() if site.idle), default=None)
        self._sweeper = None if due is None else loop.call_at(due + self._idle_s, self._sweep)
