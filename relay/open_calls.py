"""The calls that are under way, on one timer for all of them: a call costs no timer of its own, however many there are."""

import asyncio
from collections.abc import Iterator
from time import monotonic

from relay.call import Call

TICK_S = 0.05
"""How often due calls are looked for: a wait ends at most so much late."""


class OpenCalls:
    """Those of one event loop. Whose time has come is told within TICK_S."""

    __slots__ = ("_calls", "_timer")

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        """Those that are open when it begins."""
        return iter(tuple(self._calls))

    def add(self, call: Call) -> None:
        self._calls.add(call)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._look)

    def discard(self, call: Call) -> None:
        self._calls.discard(call)

    def _look(self) -> None:
        self._timer = None
        if not self._calls:
            return
        now = monotonic()
        for call in [call for call in self._calls if call.due <= now]:
            call.look(now)
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._look)
