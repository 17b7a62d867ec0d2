"""Failed logins are counted, for each address and for each name; after twenty in twenty minutes the door stays shut.

An attempt counts from its beginning, so that many at once cannot pass the limit together. All processes count together in
Redis; each counts for itself too. Without Redis a process lets its share of twenty pass, and whatever Redis says, never more
than twenty. Memory is bounded: the names seen longest ago are forgotten first.
"""

import ipaddress
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from math import ceil
from threading import Lock
from time import monotonic, time
from typing import Annotated

from fastapi import Depends, Request

from api.admin.refusals import TooMany
from api.admin.services import Site
from relay.shared import Shared
from relay.shared_link import Away
from relay.shared_scripts import ATTEMPT, SUCCEEDED
from relay.windows import BUCKETS, share

LIMIT = 20
WINDOW_S = 1200.0
MAX_NAMES = 10_000
KEPT = BUCKETS + 1
"""Parts of a window for which Redis keeps a count: it forgets up to one part late."""
MAX_CLOCK_S = 30.0
"""Redis' clock may differ from ours by this; what says another time is no answer."""


class Attempts:
    """The attempts by any names (an address, a user's name), as one process knows them. Blocks; used by threads."""

    def __init__(
        self,
        limit: int = LIMIT,
        window_s: float = WINDOW_S,
        max_names: int = MAX_NAMES,
        clock: Callable[[], float] = monotonic,
        shared: Shared | None = None,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._part_ms = max(1, ceil(window_s * 1000 / BUCKETS))
        self._max_names = max_names
        self._clock = clock
        self._shared = shared or Shared()
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def begin(self, *names: str) -> None:
        """An attempt by all these names, taken for a failure until `succeeded`. Raises TooMany, and counts nothing then."""
        is_up = self._shared.link.is_up
        self._count(names, self._limit if is_up else self._share)
        if not is_up:
            return
        try:
            wait_s = self._counted_together(names)
        except Away:
            wait_s = self._wait_beyond_share(names)
        if wait_s:
            self._uncount(names)
            raise _too_many(wait_s)

    def succeeded(self, address: str, name: str) -> None:
        """The attempt was no failure. The name starts anew; its address does not, or an own account would reset it."""
        with self._lock:
            self._failed.pop(name, None)
            times = self._failed.get(address)
            if times:
                times.pop()
        link = self._shared.link
        link.send(link.run(SUCCEEDED, self._keys((address, name)), [self._limit, self._part_ms, KEPT]))

    @property
    def _share(self) -> int:
        return share(self._limit, self._shared.nodes.count)

    def _count(self, names: tuple[str, ...], limit: int) -> None:
        now = self._clock()
        with self._lock:
            recent = [self._recent(name, now) for name in names]
            oldest = min((times[0] for times in recent if len(times) >= limit), default=None)
            if oldest is not None:
                raise _too_many(int(oldest + self._window_s - now) + 1)
            for name, times in zip(names, recent, strict=True):
                times.append(now)
                self._failed[name] = times
                self._failed.move_to_end(name)
            while len(self._failed) > self._max_names:
                self._failed.popitem(last=False)

    def _uncount(self, names: tuple[str, ...]) -> None:
        with self._lock:
            for name in names:
                times = self._failed.get(name)
                if times:
                    times.pop()

    def _wait_beyond_share(self, names: tuple[str, ...]) -> int:
        """Seconds to wait when this attempt, counted already, is beyond our share; else 0."""
        now = self._clock()
        with self._lock:
            recent = [self._recent(name, now) for name in names]
            oldest = min((times[0] for times in recent if len(times) > self._share), default=None)
        return 0 if oldest is None else int(oldest + self._window_s - now) + 1

    def _counted_together(self, names: tuple[str, ...]) -> int:
        """Seconds until all processes together may try again; 0 when it is counted. Raises Away."""
        link, nonce = self._shared.link, secrets.token_hex(8)
        answer = link.wait_for(link.run(ATTEMPT, self._keys(names), [nonce, self._limit, self._part_ms, KEPT]))
        wait_ms = _wait_ms(answer, nonce)
        if wait_ms is None or wait_ms > KEPT * self._part_ms:
            link.odd("a count of attempts")
            raise Away
        return ceil(wait_ms / 1000)

    def _keys(self, names: tuple[str, ...]) -> list[str]:
        return [self._shared.link.key("a", self._shared.named(name)) for name in names]

    def _recent(self, name: str, now: float) -> deque[float]:
        times = self._failed.get(name) or deque[float]()
        while times and times[0] <= now - self._window_s:
            times.popleft()
        return times


def place(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, which a single client has to itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


async def of_app(request: Request, site: Site) -> Attempts:
    """The attempts of the application that a request came to."""
    state = request.app.state
    if not hasattr(state, "login_attempts"):
        state.login_attempts = Attempts(shared=site.shared)
    attempts: Attempts = state.login_attempts
    return attempts


CountedAttempts = Annotated[Attempts, Depends(of_app)]


def _too_many(wait_s: int) -> TooMany:
    return TooMany(f"too many failed logins: try again in {wait_s} seconds", wait_s)


def _wait_ms(answer: object, nonce: str) -> int | None:
    """What the script answered; None when that cannot be."""
    if not isinstance(answer, list) or len(answer) != 3 or answer[0] != nonce.encode():
        return None
    _, wait_ms, now_ms = answer
    if not isinstance(wait_ms, int) or not isinstance(now_ms, int) or wait_ms < 0:
        return None
    return wait_ms if abs(now_ms / 1000 - time()) <= MAX_CLOCK_S else None
