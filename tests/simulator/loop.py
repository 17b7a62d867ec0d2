"""An event loop whose time is told and never waited for, so that the relay's own coroutines run in a simulation.

What is due next is run at once; what is due at one moment runs in the order in which it was asked for. There are no threads, no
files and no contexts: only calls and when they are made.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import events
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")

TICK_MS = 100
"""How often the simulation looks at the whole of itself."""
BEGUN_AT_MOST = 10_000


class Stopped(Exception):
    """There is nothing left to run or to wait for."""


class Call(asyncio.TimerHandle):
    """Something to call, unless it is cancelled before."""

    __slots__ = ("act", "args", "is_off")

    def __init__(self, act: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.act = act
        self.args = args
        self.is_off = False

    def cancel(self) -> None:
        self.is_off = True

    def cancelled(self) -> bool:
        return self.is_off


class VirtualLoop(asyncio.BaseEventLoop):
    """Time passes when nothing is left to do at the present moment."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._soon: deque[Call] = deque()
        self._later: list[tuple[float, int, Call]] = []
        self._asked = 0
        self._is_over = False

    def time(self) -> float:
        return self._now_s

    @property
    def elapsed_ms(self) -> int:
        return int(self._now_s * 1000)

    def call_soon(self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None) -> Call:
        call = Call(callback, args)
        self._soon.append(call)
        return call

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Call:
        return self.call_soon(callback, *args)

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Call:
        return self.call_at(self._now_s + delay, callback, *args)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> Call:
        call = Call(callback, args)
        self._asked += 1
        heappush(self._later, (when, self._asked, call))
        return call

    def call_exception_handler(self, context: object) -> None:
        """Whoever is interested in a task's end has asked to be told."""

    def stop(self) -> None:
        self._is_over = True

    def run_for(self, milliseconds: int) -> None:
        """Until so much later, or until somebody stops it. Raises what a callback raises, and Stopped."""
        self.call_later(milliseconds / 1000, self.stop)
        self._is_over = False
        events._set_running_loop(self)
        try:
            soon, later = self._soon, self._later
            while not self._is_over:
                if soon:
                    call = soon.popleft()
                elif later:
                    when_s, _, call = heappop(later)
                    self._now_s = max(self._now_s, when_s)
                else:
                    raise Stopped("nothing is left to run")
                if not call.is_off:
                    call.act(*call.args)
        finally:
            events._set_running_loop(None)

    def begin_the_rest(self) -> None:
        """Let begin what waits to: a coroutine that is thrown away before it began complains."""
        events._set_running_loop(self)
        for _ in range(BEGUN_AT_MOST):
            if not self._soon:
                break
            call = self._soon.popleft()
            if not call.is_off:
                with suppress(Exception):
                    call.act(*call.args)
        events._set_running_loop(None)


async def pause(milliseconds: float) -> None:
    await asyncio.sleep(milliseconds / 1000)


@contextmanager
def opened_loop() -> Generator[VirtualLoop]:
    """A loop that is closed afterwards. The house's log lines are about real trouble, and are kept out of it."""
    house = logging.getLogger("veloera")
    level = house.level
    house.setLevel(logging.CRITICAL + 1)
    loop = VirtualLoop()
    try:
        yield loop
    finally:
        loop.begin_the_rest()
        loop.close()
        house.setLevel(level)
