"""How many connections there may be, and who is next. The caps hold at every moment; who waits is served in order of arrival.

A *seat* is the right to one connection of an origin: taken before it is dialled, kept while it lives, handed on with it.
"""

import asyncio
from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING

from relay.errors import UpstreamUnreachable
from relay.lean.wire import Origin
from relay.reach import MAX_WAITING

if TYPE_CHECKING:
    from relay.lean.connection import Connection

Waiter = asyncio.Future["Connection | None"]


class Site:
    """One origin: its connections, and who waits for one."""

    __slots__ = ("idle", "origin", "seats", "waiting")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle: list[Connection] = []
        """The one used last is at the end, and is taken first."""
        self.seats = 0
        self.waiting: OrderedDict[Waiter, int] = OrderedDict()
        """Each with its number in order of arrival. It is given a connection with its seat, or None: a seat alone."""


class Seats:
    """At most `total` seats, `per_site` at one site, and `max_waiting` who wait."""

    def __init__(self, total: int, per_site: int, max_waiting: int = MAX_WAITING) -> None:
        self.taken = 0
        self.sites_waited_for: dict[Site, None] = {}
        self._total = total
        self._per_site = per_site
        self._max_waiting = max_waiting
        self._arrivals = count(1)

    @property
    def are_all_taken(self) -> bool:
        return self.taken >= self._total

    @property
    def waiting(self) -> int:
        return sum(len(site.waiting) for site in self.sites_waited_for)

    def may_have_another(self, site: Site) -> bool:
        """As far as the site's own cap goes."""
        return site.seats < self._per_site

    def take(self, site: Site) -> bool:
        if self.are_all_taken or not self.may_have_another(site):
            return False
        self._seat(site)
        return True

    def give_back(self, site: Site) -> None:
        """A seat is free: it goes to whoever has waited longest and may have it."""
        site.seats -= 1
        self.taken -= 1
        assert site.seats >= 0, "a seat is given back once"
        while self.sites_waited_for and not self.are_all_taken:
            longest = self.longest()
            if longest is None:
                return
            self._seat(longest)
            self.hand(longest, None)

    def longest(self, with_connection: Site | None = None) -> Site | None:
        """The site whose first waiter is the oldest that may be served: below its cap, or with a connection to hand on."""
        found: Site | None = None
        oldest = 0
        for site in tuple(self.sites_waited_for):
            if site is not with_connection and not self.may_have_another(site):
                continue
            first = self._first(site)
            if first is not None and (found is None or site.waiting[first] < oldest):
                found, oldest = site, site.waiting[first]
        return found

    def hand(self, site: Site, connection: "Connection | None") -> None:
        """Give the first of those who wait at a site a connection with its seat, or the seat that was taken for it."""
        waiter = self._first(site)
        assert waiter is not None, "somebody waits where `longest` said so"
        self._leave(site, waiter)
        waiter.set_result(connection)

    async def wait(self, site: Site, *, first: bool = False) -> "Connection | None":
        """Wait to be handed something. `first`: ahead of all others. Raises UpstreamUnreachable when too many wait."""
        if self.waiting >= self._max_waiting:
            raise UpstreamUnreachable(f"{self._max_waiting} calls wait for a connection already")
        waiter: Waiter = asyncio.get_running_loop().create_future()
        site.waiting[waiter] = 0 if first else next(self._arrivals)
        if first:
            site.waiting.move_to_end(waiter, last=False)
        self.sites_waited_for[site] = None
        try:
            return await waiter
        except BaseException:
            self._leave(site, waiter)
            self._return(site, waiter)
            raise

    def refuse_all(self, why: str) -> None:
        """Nobody who waits now will be served."""
        for site in tuple(self.sites_waited_for):
            while (waiter := self._first(site)) is not None:
                self._leave(site, waiter)
                waiter.set_exception(UpstreamUnreachable(why))

    def _seat(self, site: Site) -> None:
        site.seats += 1
        self.taken += 1

    def _first(self, site: Site) -> Waiter | None:
        """Who is first at a site. Waiters that were cancelled are dropped, wherever their tasks have got to."""
        while site.waiting:
            waiter = next(iter(site.waiting))
            if not waiter.done():
                return waiter
            self._leave(site, waiter)
        return None

    def _leave(self, site: Site, waiter: Waiter) -> None:
        site.waiting.pop(waiter, None)
        if not site.waiting:
            self.sites_waited_for.pop(site, None)

    def _return(self, site: Site, waiter: Waiter) -> None:
        """What was handed to a waiter that was cancelled before it could take it."""
        if not waiter.done() or waiter.cancelled() or waiter.exception() is not None:
            return
        connection = waiter.result()
        if connection is None:
            self.give_back(site)
        else:
            connection.free()
