"""What this process and Redis remember of sessions for a few seconds. The database is asked again after at most `RECHECK_S`.

Redis may replay what it was told once, for ever: each entry says when the database was asked and is signed, so one that is
older, or that nobody of us wrote, counts for nothing. Nor is Redis believed that a session has ended.
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from relay.shared_link import Away, Link

RECHECK_S = 4.0
"""A session that was ended elsewhere is refused here after so long, and what the clocks of two machines differ by."""
ENDED = b"ended"
MAX_REMEMBERED = 10_000


class Known(NamedTuple):
    """What was found out about a session."""

    user_id: int
    is_alive: bool
    until: float
    """By the monotonic clock."""


class Remembered:
    """The answers of this process. The one that was asked for longest ago is forgotten first."""

    def __init__(self, clock: Callable[[], float], max_remembered: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._max = max_remembered
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._lock = Lock()

    def get(self, digest: str, user_id: int) -> bool | None:
        """Whether the session lives; None when that is to be looked up."""
        known = self._known.get(digest)
        if known is None or self._clock() >= known.until:
            return None
        return known.is_alive and known.user_id == user_id

    def put(self, digest: str, known: Known) -> None:
        """Remember an answer, unless the session has ended while it was on its way."""
        with self._lock:
            before = self._known.get(digest)
            if before is None or before.is_alive or self._clock() >= before.until:
                self._put(digest, known)

    def end(self, digest: str, user_id: int) -> None:
        with self._lock:
            self._put(digest, Known(user_id, False, self._clock() + 2 * RECHECK_S))

    def end_all(self, user_id: int) -> list[str]:
        """The digests of a user's sessions that were known here."""
        with self._lock:
            digests = [digest for digest, known in self._known.items() if known.user_id == user_id]
            for digest in digests:
                self._put(digest, Known(user_id, False, self._clock() + 2 * RECHECK_S))
        return digests

    def _put(self, digest: str, known: Known) -> None:
        self._known[digest] = known
        self._known.move_to_end(digest)
        while len(self._known) > self._max:
            self._known.popitem(last=False)


class Cached(NamedTuple):
    """What Redis says, and has the right to: the database had this session at a moment."""

    checked_at_ms: int
    expires_at_ms: int


class RedisCache:
    """Sessions in Redis, by their digests, for as long as they may be believed. May be used by any thread but the loop's."""

    def __init__(self, link: Link, sign: Callable[[str, str], str]) -> None:
        self._link = link
        self._sign = sign

    def get(self, digest: str, user_id: int) -> Cached | None:
        try:
            value = self._link.wait_for(self._link.ask("GET", self._key(digest)))
        except Away:
            return None
        if not isinstance(value, bytes) or not value.isascii():
            return None
        texts = value.decode().split(".")
        if len(texts) != 3 or not (texts[0].isdigit() and texts[1].isdigit() and len(value) < 200):
            return None
        cached = Cached(int(texts[0]), int(texts[1]))
        return cached if hmac.compare_digest(value, self._value(digest, user_id, cached)) else None

    def put(self, digest: str, user_id: int, cached: Cached) -> None:
        """Say that it lives, unless it is there already or somebody said that it has ended."""
        value = self._value(digest, user_id, cached)
        self._link.send(self._link.ask("SET", self._key(digest), value, "NX", "PX", int(RECHECK_S * 1000)))

    def end(self, digest: str) -> None:
        """Say that it has ended, for longer than anybody can have read that it lives."""
        self._link.send(self._link.ask("SET", self._key(digest), ENDED, "PX", int(2 * RECHECK_S * 1000)))

    def _key(self, digest: str) -> str:
        return self._link.key("s", digest)

    def _value(self, digest: str, user_id: int, cached: Cached) -> bytes:
        signature = self._sign("session cache", f"{digest}.{user_id}.{cached.checked_at_ms}.{cached.expires_at_ms}")
        return f"{cached.checked_at_ms}.{cached.expires_at_ms}.{signature}".encode()
