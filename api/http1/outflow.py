"""The way to the client: what is written in one turn of the loop goes out in one system call, and a client that takes nothing is noticed.

Bounded by the transport's own write buffer: once that is full `blocked` is true, and whoever answers waits.
"""

import asyncio
from contextvars import Context

from api.http1.deadlines import Deadlines

TOGETHER_BYTES = 64 * 1024
"""From this size on pieces of an answer neither wait for the end of the loop's turn nor are copied to go together."""


class Outflow:
    """The writing half of one connection."""

    __slots__ = (
        "_context",
        "_deadlines",
        "_loop",
        "_pending",
        "_pending_bytes",
        "_transport",
        "_waiters",
        "_watched_bytes",
        "_write_s",
        "blocked",
        "open",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        deadlines: Deadlines,
        write_s: float,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._context = context
        self._deadlines = deadlines
        self._write_s = write_s
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._watched_bytes = 0
        self.open = True
        """What is written goes to the client; else it is dropped."""
        self.blocked = False
        """The client does not take what waits for it."""

    def write(self, data: bytes) -> None:
        """Hand bytes to the socket now, after what was written before."""
        if not self.open:
            return
        if self._pending and len(data) < TOGETHER_BYTES:
            self._pending.append(data)
            self._flush()
        else:
            self._flush()
            self._transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """Hand bytes to the socket with what else is written in this turn of the loop."""
        if not self.open:
            return
        if not self._pending:
            self._loop.call_soon(self._flush, context=self._context)
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= TOGETHER_BYTES:
            self._flush()

    async def writable(self) -> None:
        """Until the client takes bytes again, or is gone."""
        while self.blocked:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def close(self) -> None:
        """Take nothing more. What was written still goes out."""
        self._flush()
        self.open = False

    def lose(self) -> None:
        """The client is gone."""
        self._pending.clear()
        self.open = False
        self.unblock()

    def block(self) -> None:
        """The transport's buffer is full."""
        self.blocked = True
        self.watch()

    def unblock(self) -> None:
        self.blocked = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def watch(self) -> None:
        """Set the deadline for the client to take something of what waits."""
        self._watched_bytes = self._transport.get_write_buffer_size()
        self._deadlines.write_within(self._write_s)

    def advances(self) -> bool:
        """At the deadline: has the client taken something since? If so, it gets as much time again."""
        if self._transport.get_write_buffer_size() >= self._watched_bytes:
            return False
        self.watch()
        return True

    def _flush(self) -> None:
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._pending_bytes = 0
            self._transport.write(data)
