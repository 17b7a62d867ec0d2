"""One HTTP/1 connection: requests are served one after another, and nothing of the next is parsed before the last is answered.

What a client can make this side hold is bounded: one head, one body's queue, one read of what it sends ahead, one answer's
write buffer. Beyond each the socket is not read. At most one deadline for reading and one for writing runs at a time.
"""

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from math import inf
from typing import Literal

from api.http1.answer import refusal
from api.http1.body import Body, Chunked, Counted
from api.http1.deadlines import Deadlines
from api.http1.errors import Refused
from api.http1.exchange import Address, Exchange
from api.http1.head import PREFACE, Head
from api.http1.heads import Heads
from api.http1.outflow import Outflow
from api.http1.unparsed import Unparsed
from api.http1.worker import Worker

log = logging.getLogger("veloera.http1")

Phase = Literal["idle", "head", "body", "linger"]
"""What a reading deadline is for."""

GiveBack = Callable[[bytes, bool], None]
"""Hands the connection to hypercorn's own class, with the bytes it has to begin with and whether writing is blocked."""


class Connection(asyncio.Protocol):
    """The protocol of one transport, from its first byte.

    `over` is done with False when the client is gone and every app has returned, with True when hypercorn has it back.
    """

    __slots__ = (
        "_ahead",
        "_body",
        "_context",
        "_deadlines",
        "_ending",
        "_eof",
        "_exchange",
        "_gained_bytes",
        "_give_back",
        "_heads",
        "_lost",
        "_paused",
        "_phase",
        "_running",
        "_served",
        "_transport",
        "_worker",
        "client",
        "out",
        "over",
        "scheme",
        "server",
    )

    def __init__(
        self,
        worker: Worker,
        transport: asyncio.Transport,
        give_back: GiveBack,
        *,
        scheme: str,
        client: Address,
        server: Address,
    ) -> None:
        self._worker = worker
        self._transport = transport
        self._give_back = give_back
        self.scheme, self.client, self.server = scheme, client, server
        self._context = copy_context()
        self._heads = Heads(worker.limits)
        self._ahead = Unparsed()  # what the client has sent of its next requests
        self._exchange: Exchange | None = None  # the request that is being answered
        self._body: Body | None = None
        """Its body, as long as that goes on."""
        self._running: set[Exchange] = set()
        """Whose app has not returned: the present one, and earlier ones that still work in the background."""
        self._served = 0
        self._paused = self._eof = self._ending = self._lost = False
        self._phase: Phase = "idle"
        self._gained_bytes = 0
        self.over: asyncio.Future[bool] = worker.loop.create_future()
        self._deadlines = Deadlines(worker.loop, self._expired)
        self._deadlines.read_within(worker.limits.head_s)
        self.out = Outflow(transport, worker.loop, self._context, self._deadlines, worker.limits.write_s)
        worker.opened(self)

    # ---- what the transport says

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        if self._body is None:
            self._ahead.put(data)
        else:
            self._feed(self._body, data)
        if self._exchange is None:
            self._next()
        else:
            self._balance()

    def eof_received(self) -> bool:
        """The client has ended its side: the app is told at once, and its answer is still written."""
        self._eof = True
        if self._ending:
            self._close()
            return False
        if self._exchange is None:
            self._next()
        else:
            self._deadlines.read_at = inf
            self._exchange.disconnect()
        return self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._ending = True
        self._ahead.take_all()
        self._body = None
        self._deadlines.cancel()
        self.out.lose()
        self._worker.closed(self)
        for exchange in self._running:
            exchange.disconnect()
        self._maybe_over()

    def pause_writing(self) -> None:
        self.out.block()

    def resume_writing(self) -> None:
        self._deadlines.write_at = inf
        self.out.unblock()
        if self._ending:
            self._watch_the_rest()
        elif self._exchange is None:
            self._next()

    # ---- what the exchange says

    @property
    def ends(self) -> bool:
        last = self._served + 1 >= self._worker.config.keep_alive_max_requests
        return last or self._worker.draining or (self._eof and not self._ahead)

    def body_taken(self) -> None:
        if self._paused:
            self._balance()
        elif self._body is not None and self._deadlines.read_at == inf and not self._eof:
            self._deadlines.read_within(self._worker.limits.body_idle_s)

    def answered(self, exchange: Exchange) -> None:
        if exchange is not self._exchange:
            return
        ends = exchange.closes or self._body is not None or self.ends
        self._exchange = None
        self._served += 1
        if ends:
            self._end()
        elif self._ahead or self.out.blocked or self._eof or self._worker.draining:
            self._next()
        else:
            self._wait_idle()

    def broken(self) -> None:
        self._end()

    def left(self, exchange: Exchange) -> None:
        self._running.discard(exchange)
        if exchange is self._exchange:
            self._exchange = None
            if not exchange.begun:
                self.out.write(refusal(500, "", self._worker.dated()))
            self._end()
        self._maybe_over()

    # ---- what the worker says

    def drain(self) -> None:
        """End once the present request is answered; a head that is under way has a little time left."""
        if self._exchange is None and not self._ahead:
            self._end()
        elif self._phase == "head":
            within_s = min(self._worker.limits.drain_head_s, self._deadlines.read_at - self._worker.loop.time())
            self._deadlines.read_within(within_s)

    async def cancel(self) -> None:
        """Cut the connection and cancel its apps; returns when they have returned."""
        tasks = self._tasks()
        self._transport.abort()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def quiet(self) -> None:
        """Until every app has returned."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [exchange.task for exchange in self._running if exchange.task is not None and not exchange.task.done()]

    # ---- reading

    def _next(self) -> None:
        """Begin with the next request, if its head is there and the client takes answers."""
        if self._ending:
            return
        if self.out.blocked:
            self._balance()
            return
        raw = self._ahead.take_head()
        if raw is None:
            self._wait_for_head()
            return
        if raw == PREFACE and not self._served:
            self._return(raw)
            return
        try:
            head = self._worker.known(self._heads.read(raw))
        except Refused as refused:
            self._refuse(refused)
            return
        if head.upgrade:
            self._return(raw)
        else:
            self._begin(head)

    def _wait_for_head(self) -> None:
        if self._eof or (not self._ahead and self._worker.draining):
            self._end()
            return
        if not self._ahead:
            self._wait_idle()
            return
        try:
            self._ahead.check(self._worker.limits)
        except Refused as refused:
            self._refuse(refused)
            return
        if self._phase != "head":
            self._phase = "head"
            if self._served:
                self._deadlines.read_within(self._worker.head_s)
        self._balance()

    def _wait_idle(self) -> None:
        if self._served:
            self._phase = "idle"
            self._deadlines.read_within(self._worker.limits.keep_alive_s)
        self._balance()

    def _begin(self, head: Head) -> None:
        worker, length = self._worker, head.body_length
        self._exchange = exchange = Exchange(self, worker, head)
        self._phase = "body"
        self._deadlines.read_at = inf
        if length != 0:
            self._body = body = Chunked(worker.limits) if length is None else Counted(length)
            self._gained_bytes = worker.limits.body_step_bytes
            self._feed(body, self._ahead.take_all())
            if self._ending:
                self._exchange = None
                return
        if self._eof:
            exchange.disconnect()
        self._running.add(exchange)
        exchange.task = worker.loop.create_task(exchange.run(), context=self._context.copy())
        self._balance()

    def _feed(self, body: Body, data: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None, "a body belongs to a request"
        try:
            piece, rest = body.feed(data)
        except Refused as refused:
            self._refuse(refused)
            return
        if piece:
            exchange.put(piece)
        if rest is not None:
            self._body = None
            self._ahead.put(rest)
            self._deadlines.read_at = inf
            exchange.end_body()
        elif not exchange.wants_continue:
            self._gained_bytes += len(data)
            if self._gained_bytes >= self._worker.limits.body_step_bytes:
                self._gained_bytes = 0
                self._deadlines.read_within(self._worker.limits.body_idle_s)

    def _balance(self) -> None:
        """Read the socket exactly while there is room for what comes."""
        limits, exchange = self._worker.limits, self._exchange
        if exchange is None:
            full = self.out.blocked
        else:
            full = exchange.queued_bytes > limits.queued_body_bytes or len(self._ahead) > limits.pipelined_bytes
        if full is self._paused or self._eof or self._ending:
            return
        self._paused = full
        if full:
            self._transport.pause_reading()
            self._deadlines.read_at = inf
        else:
            self._transport.resume_reading()
            if self._body is not None:
                self._deadlines.read_within(limits.body_idle_s)

    # ---- ending

    def _refuse(self, refused: Refused) -> None:
        log.debug("http1_refused status=%d reason=%r client=%s", refused.status, refused.reason, self.client)
        exchange = self._exchange
        if exchange is None or not exchange.begun:
            self.out.write(refusal(refused.status, refused.reason, self._worker.dated()))
        if exchange is not None:
            exchange.disconnect()
        self._end(unread=True)

    def _end(self, *, unread: bool = False) -> None:
        """Let what was written go out, then close.

        Where the client may still be sending, its bytes are read and thrown away for a while: closing on unread bytes
        resets the connection, and the reset can overtake the answer.
        """
        if self._ending:
            return
        self.out.close()
        unread = unread or self._body is not None or bool(self._ahead)
        self._ending = True
        self._ahead.take_all()
        self._body = None
        transport = self._transport
        if transport.is_closing():
            return
        if not unread or self._eof or not transport.can_write_eof():
            self._close()
            return
        try:
            transport.write_eof()
        except OSError:  # the client has reset the connection, and the loop does not know it yet
            transport.abort()
            return
        if self._paused:
            transport.resume_reading()
        self._phase = "linger"
        self._deadlines.read_within(self._worker.limits.linger_s)

    def _close(self) -> None:
        self._deadlines.read_at = inf
        self._transport.close()
        self._watch_the_rest()

    def _watch_the_rest(self) -> None:
        if self._transport.get_write_buffer_size():
            self.out.watch()

    def _return(self, raw: bytes) -> None:
        """To hypercorn: what this class does not speak."""
        if self._eof or self.over.done():
            self._end()
            return
        self._ending = True
        self._deadlines.cancel()
        self._worker.closed(self)
        if self._paused:
            self._transport.resume_reading()
        self._give_back(raw + self._ahead.take_all(), self.out.blocked)
        self.over.set_result(True)

    def _maybe_over(self) -> None:
        if self._lost and not self._running and not self.over.done():
            self.over.set_result(False)

    # ---- waiting

    def _expired(self, reading: bool, writing: bool) -> None:
        if writing and not self.out.advances():
            log.debug("http1_cut reason=%r client=%s", "nothing was taken", self.client)
            self._transport.abort()
            return
        if not reading:
            return
        if self._phase == "linger":
            self._close()
        elif self._phase == "idle":
            self._end()
        elif self._phase == "head":
            self._refuse(Refused(408, f"the head did not come within {self._worker.limits.head_s:g} s"))
        else:
            self._refuse(Refused(408, f"the body did not go on for {self._worker.limits.body_idle_s:g} s"))
