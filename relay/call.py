"""One client request on its way. It can be interrupted while it waits for upstream, and only then: never between a hold and its end."""

import asyncio
import os
from collections.abc import Coroutine
from secrets import token_bytes
from time import monotonic, time_ns
from typing import TypeVar

from relay.errors import Interrupted
from relay.upstream import Sending

T = TypeVar("T")


def new_request_id() -> str:
    """A UUIDv7 as 32 hex digits: 48 bits of milliseconds, then 74 random bits (RFC 9562, section 5.7)."""
    random = int.from_bytes(_random.take())
    return (
        f"{time_ns() // 1_000_000 << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0x2 << 62 | random & MASK_62:032x}"
    )


MASK_62 = (1 << 62) - 1


class _Random:
    """Random bytes from the system, asked for a page at a time: each asking gives the interpreter to another thread."""

    PAGE_BYTES = 4000

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop the page: a forked child must never repeat its parent's ids."""
        self._page, self._next = b"", self.PAGE_BYTES

    def take(self) -> bytes:
        start = self._next
        if start >= self.PAGE_BYTES:
            self._page, start = token_bytes(self.PAGE_BYTES), 0
        self._next = start + 10
        return self._page[start : start + 10]


_random = _Random()
os.register_at_fork(after_in_child=_random.forget)


class Call:
    """One client request: what was asked, by whom, and why it ended early if it did."""

    __slots__ = (
        "_due",
        "_limit_s",
        "_phase",
        "_since",
        "_timer",
        "_total_due",
        "_waiting",
        "body",
        "client_ip",
        "client_request_id",
        "credential",
        "endpoint",
        "id",
        "sending",
        "started",
        "why",
    )

    def __init__(
        self,
        *,
        endpoint: str,
        body: bytes,
        credential: str,
        client_ip: str = "",
        client_request_id: str = "",
        id: str = "",
    ) -> None:
        self.id = id or new_request_id()
        self.endpoint = endpoint
        self.body = body
        self.credential = credential
        self.client_ip = client_ip
        self.client_request_id = client_request_id
        self.started = monotonic()
        self.why = ""
        """Why it was interrupted; "" while it was not."""
        self.sending = Sending()
        """Of the attempt that is under way."""
        self._waiting: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._phase = ""
        self._since = self._limit_s = self._due = 0.0
        self._total_due = 0.0

    @property
    def elapsed_ms(self) -> int:
        return int((monotonic() - self.started) * 1000)

    @property
    def client_is_gone(self) -> bool:
        return self.why == "client_left"

    def interrupt(self, why: str) -> None:
        """End the wait for upstream, now or when it is next entered. The first reason stays."""
        if self.why:
            return
        self.why = why
        if self._waiting is not None:
            self._waiting.cancel()

    def was_interrupted(self) -> bool:
        return bool(self.why)

    async def wait(self, upstream: Coroutine[object, object, T]) -> T:
        """Await something of upstream's. Raises Interrupted when `interrupt` was or is called."""
        if self.why:
            upstream.close()
            raise Interrupted(self.why)
        task = asyncio.current_task()
        assert task is not None, "calls are relayed by tasks"
        self._waiting = task
        try:
            return await upstream
        except asyncio.CancelledError:
            if self.was_interrupted() and task.uncancel() == 0:
                raise Interrupted(self.why) from None
            raise
        finally:
            self._waiting = None

    def patience(self, phase: str, limit_s: float, total_s: float = 0.0) -> None:
        """From now on interrupt with `{phase}_timeout` when `limit_s` pass without `heard`. `total_s` is set once."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if total_s:
            self._total_due = now + total_s
        self._phase, self._limit_s, self._since = phase, limit_s, now
        due = min(now + limit_s, self._total_due)
        if self._timer is None or due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = loop.call_at(due, self._ring)

    def heard(self) -> None:
        """Upstream said something: the gap begins anew."""
        self._since = asyncio.get_running_loop().time()

    def calm(self) -> None:
        """No upstream is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._total_due:
            self.interrupt("total_timeout")
            return
        due = self._since + self._limit_s
        if now >= due:
            self.interrupt("tail" if self._phase == "tail" else f"{self._phase}_timeout")
            return
        self._due = min(due, self._total_due)
        self._timer = loop.call_at(self._due, self._ring)
