"""Counts of what happened lately, by name. What is remembered is bounded; a window forgets a little late, never early."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final, NamedTuple, Protocol

MAX_REMEMBERED: Final = 20_000
"""Windows kept in memory; the one that was idle longest is forgotten first."""
BUCKETS: Final = 60
"""Parts of a window: it forgets up to one part late, never early."""


class Taken(NamedTuple):
    """An answer of a window: a place in it, or how long until there is one."""

    granted: bool
    place: int = 0
    """The part of the window in which it was counted here."""
    retry_after_s: float = 0.0
    shared_place: int = 0
    """The part in which a shared count has it; 0: it is counted here alone."""


class Windows(Protocol):
    """Counts of what happened lately, by name: this process's, and what others told."""

    async def take(self, name: str, *, limit: int, window_s: float) -> Taken:
        """Count one more, unless `limit` were counted within the last `window_s`."""
        ...

    def give_back(self, name: str, taken: Taken) -> None:
        """Count one less, as if it had not been taken. May happen a little later."""
        ...


class MemoryWindows:
    """Sliding windows of this process alone."""

    def __init__(self, *, clock: Callable[[], float] = monotonic, max_remembered: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._max_remembered = max_remembered
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def take(self, name: str, *, limit: int, window_s: float) -> Taken:
        """Count one more, unless `limit` were counted within the last `window_s`."""
        window, bucket = self._window(name, window_s)
        refused = self._refused(window, bucket, limit)
        if refused is not None:
            return refused
        window.counts[bucket] = window.counts.get(bucket, 0) + 1
        return Taken(True, bucket)

    def refused(self, name: str, *, limit: int, window_s: float) -> Taken | None:
        """What `take` would refuse with; None when there is a place. Counts nothing."""
        window, bucket = self._window(name, window_s)
        return self._refused(window, bucket, limit)

    def give_back(self, name: str, taken: Taken) -> None:
        """Count one less, as if it had not been taken."""
        window = self._windows.get(name)
        if window is not None and window.counts.get(taken.place, 0) > 0:
            window.counts[taken.place] -= 1

    def counted(self, name: str) -> Mapping[int, int]:
        """How many were counted, by part of the window."""
        window = self._windows.get(name)
        return {} if window is None else {place: count for place, count in window.counts.items() if count}

    def _window(self, name: str, window_s: float) -> tuple[_Window, int]:
        bucket_s = window_s / BUCKETS
        window = self._windows.get(name)
        if window is None or window.bucket_s != bucket_s:
            window = self._windows[name] = _Window(bucket_s, {})
            if len(self._windows) > self._max_remembered:
                self._windows.popitem(last=False)
        self._windows.move_to_end(name)
        bucket = int(self._clock() / bucket_s)
        for old in [place for place in window.counts if place < bucket - BUCKETS]:
            del window.counts[old]
        return window, bucket

    def _refused(self, window: _Window, bucket: int, limit: int) -> Taken | None:
        if sum(window.counts.values()) < limit:
            return None
        oldest = min((place for place, count in window.counts.items() if count), default=bucket)
        return Taken(False, retry_after_s=(oldest + BUCKETS + 1) * window.bucket_s - self._clock())


class _Window(NamedTuple):
    bucket_s: float
    counts: dict[int, int]


def share(limit: int, processes: int) -> int:
    """What one of several processes may grant alone, so that together they grant `limit`; at least 1."""
    return max(1, limit // max(1, processes))
