"""A Redis that lies: counts that are old, keys that are gone or were never written, wake-ups that are late, lost or made up.

It is asked about rates and it wakes whoever waits. No answer of it may change what anybody owes.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.simulator.faults import Faults
from tests.simulator.loop import VirtualLoop

WINDOW_MS = 1_000


class RedisGone(Exception):
    """It does not answer."""


class LyingRedis:
    def __init__(self, loop: VirtualLoop, faults: Faults, chance: Random) -> None:
        self._loop = loop
        self._faults = faults
        self._chance = chance
        self._counts: dict[str, int] = {}
        self._listening: list[Callable[[], None]] = []

    def count(self, key: str) -> int:
        """Calls of a key in this window, this one included. Raises RedisGone."""
        if self._faults.strikes("redis_down"):
            raise RedisGone
        if self._faults.strikes("redis_lost_key"):
            self._counts.clear()
        if self._faults.strikes("redis_phantom_key"):
            return self._chance.randint(1, 10_000)
        name = f"{key}:{self._loop.elapsed_ms // WINDOW_MS}"
        there = self._counts.get(name, 0)
        self._counts[name] = there + 1
        return there if self._faults.strikes("redis_stale_count") else there + 1

    def listen(self, wake: Callable[[], None]) -> None:
        self._listening.append(wake)

    def publish(self) -> None:
        """Wake everybody who listens; or somebody, or later, or twice."""
        for wake in self._listening:
            if self._faults.strikes("redis_lost_wake_up"):
                continue
            if self._faults.strikes("redis_late_wake_up"):
                self._loop.call_later(self._chance.random() * 3, wake)
            wake()
