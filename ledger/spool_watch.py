"""Commands that wait for the writer, and what is done when one waits too long. It costs an answered command next to nothing."""

import asyncio
from collections import deque
from collections.abc import Callable

from domain.books import Result
from domain.commands import Command


class Watch:
    """Commands that were given to the writer, oldest first, and what to do when one is not answered in time.

    One timer for all of them, and none while everything is answered at once.
    """

    __slots__ = ("_act", "_loop", "_pending", "_timer", "_within_s")

    def __init__(self, within_s: float, act: Callable[[Command, "asyncio.Future[Result]"], None]) -> None:
        self._within_s = within_s
        self._act = act
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pending: deque[tuple[float, Command, asyncio.Future[Result]]] = deque()

    def add(self, command: Command, future: "asyncio.Future[Result]") -> None:
        pending, loop = self._pending, future.get_loop()
        if loop is not self._loop:
            self._loop, self._timer = loop, None
            pending.clear()
        while pending and pending[0][2].done():
            pending.popleft()
        pending.append((loop.time() + self._within_s, command, future))
        if self._timer is None:
            self._timer = loop.call_later(self._within_s, self._ring)

    def _ring(self) -> None:
        pending = self._pending
        assert self._loop is not None, "a timer belongs to a loop"
        now = self._loop.time()
        while pending and (pending[0][2].done() or pending[0][0] <= now):
            _, command, future = pending.popleft()
            if not future.done():
                self._act(command, future)
        self._timer = self._loop.call_at(pending[0][0], self._ring) if pending else None
