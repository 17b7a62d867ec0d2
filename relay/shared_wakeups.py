"""Something was committed: said to the other processes through Redis, so that they look before their next poll.

A hint and nothing else. One that is lost costs the period of the poll, one that is invented costs a look; both ways it is at
most one in 20 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from relay.shared_link import Away, Link, Listener

GAP_S: Final = 0.02
"""Between two that are said, and between two that are heard."""
LOOK_UP_S: Final = 1.0
MAX_DRAINED: Final = 1_000


class Wakeups:
    """Says to others what was committed here and calls `heard` for what was committed elsewhere."""

    def __init__(self, link: Link, *, me: str) -> None:
        self._link = link
        self._me = me.encode()
        self._heard: list[Callable[[], None]] = []
        self._due = asyncio.Event()
        self._is_due = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def when_heard(self, call: Callable[[], None]) -> None:
        """Call this, on the loop and without blocking it, when there may be something new."""
        self._heard.append(call)

    def committed(self) -> None:
        """Something was committed in this process. May be called by any thread, and often."""
        loop = self._loop
        if loop is None or self._is_due or not self._link.is_up:
            return
        self._is_due = True
        with suppress(RuntimeError):  # the loop was closed in between
            loop.call_soon_threadsafe(self._due.set)

    async def say(self) -> None:
        """Publish what is due until cancelled."""
        self._loop = asyncio.get_running_loop()
        channel = self._link.key("wake", "committed")
        while True:
            await self._due.wait()
            self._due.clear()
            # First: what is committed while this is under way must be said again.
            self._is_due = False
            with suppress(Away):
                await self._link.ask("PUBLISH", channel, self._me)
            await asyncio.sleep(GAP_S)

    async def listen(self) -> None:
        """Hear until cancelled; after every loss from anew."""
        channel = self._link.key("wake", "committed")
        while True:
            await self._link.ready(LOOK_UP_S)
            if self._link.is_up:
                with suppress(Away):
                    async with self._link.listening(channel) as listener:
                        await self._hear(listener)
                await asyncio.sleep(self._link.retry_s)

    async def _hear(self, listener: Listener) -> None:
        losses = self._link.losses
        self._tell()  # whatever was said while nobody listened
        while self._link.losses == losses:
            message = await listener.next(LOOK_UP_S)
            if message is None or message == self._me:
                continue
            self._tell()
            await asyncio.sleep(GAP_S)
            if await self._drained(listener):
                self._tell()

    async def _drained(self, listener: Listener) -> bool:
        """Whether more was said meanwhile: one look does for all of it."""
        more = False
        for _ in range(MAX_DRAINED):
            message = await listener.next(0)
            if message is None:
                break
            more = more or message != self._me
        return more

    def _tell(self) -> None:
        for call in self._heard:
            call()
