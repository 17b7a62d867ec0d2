"""Failed logins are counted, for each address and for each name; after twenty in twenty minutes the door stays shut.

An attempt counts from its beginning, so that many at once cannot pass the limit together. Memory is bounded: the names seen
longest ago are forgotten first.
"""

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Annotated

from fastapi import Depends, Request

from api.admin.refusals import TooMany

LIMIT = 20
WINDOW_S = 1200.0
MAX_NAMES = 10_000


class Attempts:
    """The attempts of one process, by any names: an address, a user's name."""

    def __init__(
        self,
        limit: int = LIMIT,
        window_s: float = WINDOW_S,
        max_names: int = MAX_NAMES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._max_names = max_names
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def begin(self, *names: str) -> None:
        """An attempt by all these names, taken for a failure until `succeeded`. Raises TooMany, and counts nothing then."""
        now = self._clock()
        with self._lock:
            recent = [self._recent(name, now) for name in names]
            oldest = min((times[0] for times in recent if len(times) >= self._limit), default=None)
            if oldest is not None:
                wait_s = int(oldest + self._window_s - now) + 1
                raise TooMany(f"too many failed logins: try again in {wait_s} seconds", wait_s)
            for name, times in zip(names, recent, strict=True):
                times.append(now)
                self._failed[name] = times
                self._failed.move_to_end(name)
            while len(self._failed) > self._max_names:
                self._failed.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """The attempt was no failure. The name starts anew; its address does not, or an own account would reset it."""
        with self._lock:
            self._failed.pop(name, None)
            times = self._failed.get(address)
            if times:
                times.pop()

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


async def of_app(request: Request) -> Attempts:
    """The attempts of the application that a request came to."""
    state = request.app.state
    if not hasattr(state, "login_attempts"):
        state.login_attempts = Attempts()
    attempts: Attempts = state.login_attempts
    return attempts


CountedAttempts = Annotated[Attempts, Depends(of_app)]
