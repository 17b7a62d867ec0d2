"""When a connection stops waiting: two deadlines on one timer, which is moved only when it would ring too late.

Moving a deadline further away costs an assignment: the timer rings at the old time, finds nothing due, and is set anew.
"""

import asyncio
from collections.abc import Callable
from math import inf


class Deadlines:
    """`read_at` and `write_at` in the loop's seconds; infinite while nothing is waited for."""

    __slots__ = ("_expired", "_handle", "_loop", "_rings_at", "read_at", "write_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[bool, bool], None]) -> None:
        """`expired(reading, writing)` is called when one of them has passed; what passed is not waited for any more."""
        self._loop = loop
        self._expired = expired
        self._handle: asyncio.TimerHandle | None = None
        self._rings_at = inf
        self.read_at = inf
        self.write_at = inf

    def read_within(self, seconds: float) -> None:
        self.read_at = at = self._loop.time() + seconds
        if at < self._rings_at:
            self._set(at)

    def write_within(self, seconds: float) -> None:
        self.write_at = at = self._loop.time() + seconds
        if at < self._rings_at:
            self._set(at)

    def cancel(self) -> None:
        """Wait for nothing any more, for good; the connection is not held any longer."""
        self._expired = _nothing
        self.read_at = self.write_at = self._rings_at = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._rings_at = at
        self._handle = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._handle, self._rings_at = None, inf
        now = self._loop.time()
        reading, writing = self.read_at <= now, self.write_at <= now
        if reading:
            self.read_at = inf
        if writing:
            self.write_at = inf
        if reading or writing:
            self._expired(reading, writing)
        due = min(self.read_at, self.write_at)
        if due < self._rings_at:
            self._set(due)


def _nothing(reading: bool, writing: bool) -> None:
    """What a cancelled pair of deadlines calls."""
