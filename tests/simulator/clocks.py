"""Two kinds of clock: the ledger's, which everything that matters is decided by, and a machine's, which may say anything."""

from __future__ import annotations

from random import Random

from tests.simulator.loop import VirtualLoop


class Clock:
    """A clock that is off by some milliseconds. `steady`: it never goes back, as the ledger's does not."""

    def __init__(self, loop: VirtualLoop, start_ms: int, *, off_ms: int = 0, steady: bool = False) -> None:
        self._loop = loop
        self._start_ms = start_ms
        self._off_ms = off_ms
        self._steady = steady
        self._last_ms = 0

    def now_ms(self) -> int:
        told = self._start_ms + self._off_ms + self._loop.elapsed_ms
        if not self._steady:
            return told
        self._last_ms = max(self._last_ms, told)
        return self._last_ms

    def step(self, by_ms: int) -> None:
        self._off_ms += by_ms


def skew_ms(chance: Random, embedded: bool) -> int:
    """How wrong a machine's clock is: little, or an hour. The processes of one machine share the ledger's."""
    return 0 if embedded else chance.choice((0, chance.randint(-500, 500), chance.randint(-3_600_000, 3_600_000)))
