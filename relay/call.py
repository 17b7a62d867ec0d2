"""One client request on its way. It can be interrupted while it waits for upstream, and only then: never between a hold and its end."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from math import inf
from secrets import token_bytes
from time import monotonic, time_ns
from typing import Protocol, TypeVar, cast

from relay.errors import Interrupted
from relay.upstream import NOTHING_SENT

T = TypeVar("T")


def new_request_id() -> str:
    """A UUIDv7 as 32 hex digits: 48 bits of milliseconds, then 74 random bits (RFC 9562, section 5.7)."""
    digits = _random.take()
    return f"{time_ns() // 1_000_000:012x}7{digits[:3]}{VARIANTS[digits[3]]}{digits[4:]}"


VARIANTS = {f"{digit:x}": f"{0b1000 | digit & 0b11:x}" for digit in range(16)}
"""A random hex digit as the one that begins with the bits 10, which say whose variant of UUID this is."""


class _Random:
    """Random hex digits from the system, asked for a page at a time: each asking gives the interpreter to another thread."""

    DIGITS = 19
    PAGE_BYTES = 3800

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop the page: a forked child must never repeat its parent's ids."""
        self._page, self._next = "", 0

    def take(self) -> str:
        start = self._next
        end = self._next = start + self.DIGITS
        if end > len(self._page):
            self._page, start, end = token_bytes(self.PAGE_BYTES).hex(), 0, self.DIGITS
            self._next = end
        return self._page[start:end]


_random = _Random()
os.register_at_fork(after_in_child=_random.forget)


KEY_PREFIX = "sk-"


class Credential:
    """An API key as a client says it, taken apart: the key, and what an admin may write behind it.

    `digest` is the key's name in the ledger, kept by whoever works it out first: a client that stays says the same key again.
    """

    __slots__ = ("digest", "suffix", "text")

    def __init__(self, said: str) -> None:
        self.text, _, self.suffix = said.removeprefix(KEY_PREFIX).partition("-")
        self.digest = ""


class Watched(Protocol):
    """A client that can be seen to leave."""

    def watch(self, left: Callable[[], None]) -> None:
        """Call `left` when it leaves, now if it has left already."""
        ...


SLOW_AFTER_S = 0.05
"""A call that is over by then is not watched at all."""


class Call:
    """One client request: what was asked, by whom, and why it ended early if it did."""

    __slots__ = (
        "_limit_s",
        "_phase",
        "_since",
        "_task",
        "_total_due",
        "_waiting",
        "body",
        "client",
        "client_ip",
        "client_request_id",
        "credential",
        "due",
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
        credential: Credential,
        client_ip: str = "",
        client_request_id: str = "",
        id: str = "",
        task: "asyncio.Task[None] | None" = None,
    ) -> None:
        """`task` is the one that relays it, where that is known already."""
        self.id = id or new_request_id()
        self.endpoint = endpoint
        self.body = body
        self.credential = credential
        self.client_ip = client_ip
        self.client_request_id = client_request_id
        self.client: Watched | None = None
        """Who waits for it: watched once, if the call is still open after SLOW_AFTER_S."""
        self.started = monotonic()
        self.why = ""
        """Why it was interrupted; "" while it was not."""
        self.sending = NOTHING_SENT
        """Of the attempt that is under way."""
        self.due = inf
        """When `look` has something to do, in seconds of the monotonic clock; it may be later by then."""
        self._task = task
        self._waiting = False
        self._phase = ""
        self._since = self._limit_s = 0.0
        self._total_due = inf

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
        if self._waiting:
            assert self._task is not None, "a task waits"
            self._task.cancel()

    def was_interrupted(self) -> bool:
        return bool(self.why)

    async def wait(self, upstream: Coroutine[object, object, T]) -> T:
        """Await something of upstream's, always in the same task. Raises Interrupted when `interrupt` was or is called."""
        if self.why:
            upstream.close()
            raise Interrupted(self.why)
        task = self._task
        if task is None:
            task = self._task = cast("asyncio.Task[None] | None", asyncio.current_task())
            assert task is not None, "calls are relayed by tasks"
        self._waiting = True
        try:
            return await upstream
        except asyncio.CancelledError:
            if self.was_interrupted() and task.uncancel() == 0:
                raise Interrupted(self.why) from None
            raise
        finally:
            self._waiting = False

    def lasts_at_most(self, seconds: float) -> None:
        """From now on; set before `patience`."""
        self._total_due = monotonic() + seconds

    def patience(self, phase: str, limit_s: float) -> None:
        """From now on interrupt with `{phase}_timeout` when `limit_s` pass without `heard`."""
        self._phase, self._limit_s, self._since = phase, limit_s, monotonic()
        self._set_due()

    def heard(self) -> None:
        """Upstream said something: the gap begins anew."""
        self._since = monotonic()

    def over(self) -> None:
        """Nothing is waited for any more. What it knew of its surroundings knows it, too: nobody should have to look for such rings."""
        self.client = self._task = None

    def look(self, now: float) -> None:
        """At `due`: begin to watch the client, and interrupt a wait that has lasted too long."""
        client = self.client
        if client is not None and now >= self.started + SLOW_AFTER_S:
            self.client = None
            client.watch(self._left)
        if now >= self._total_due:
            self.interrupt("total_timeout")
        elif now >= self._since + self._limit_s:
            self.interrupt("tail" if self._phase == "tail" else f"{self._phase}_timeout")
        self._set_due()

    def _left(self) -> None:
        self.interrupt("client_left")

    def _set_due(self) -> None:
        if self.why:
            self.due = inf
            return
        due = min(self._since + self._limit_s, self._total_due)
        self.due = due if self.client is None else min(due, self.started + SLOW_AFTER_S)
