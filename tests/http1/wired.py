"""A connection without a socket: bytes are put in by hand, and what the app saw and what was written are read out.

The transport behaves as a socket's does: it keeps what is written, and tells its protocol once that it is closed.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from api.asgi import Receive, Scope, Send
from api.http1.connection import Connection
from api.http1.limits import Limits
from api.http1.worker import App, Worker
from tests.http1.serving import answer, body_of

REFUSAL = re.compile(rb"HTTP/1\.1 (4..|5..) [^\r]*\r\ncontent-type: text/plain.*\r\n\r\n([^\r]*)\n\Z", re.DOTALL)
TURNS = 8
"""Turns of the loop after which an echo has answered what it could."""


class Pipe(asyncio.Transport):
    """The transport of one connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes = 0
        self.reads = True
        self.ended = False
        self.is_reset = False
        """The client has reset the connection, which a socket shows only when it is used."""
        self._loop = loop
        self._closing = False
        self.protocol: asyncio.Protocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        self.written += data

    def write_eof(self) -> None:
        if self.is_reset:
            raise OSError(errno.ENOTCONN, "shut down after a reset")
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = self.ended = True
            assert self.protocol is not None
            self._loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


@dataclass
class Wired:
    """A connection on a pipe; `given_back` is what hypercorn would have got."""

    pipe: Pipe
    connection: Connection
    context: WorkerContext
    given_back: list[bytes] = field(default_factory=list)

    async def feed(self, data: bytes) -> None:
        self.connection.data_received(data)
        await turns()

    async def end(self) -> None:
        """Break the connection off and stop the worker."""
        self.pipe.abort()
        await self.context.terminated.set()
        await turns()


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def wired(app: App, limits: Limits | None = None, **settings: object) -> Wired:
    """Make one on the running loop."""
    loop = asyncio.get_running_loop()
    config = Config()
    config.errorlog = None
    for name, value in settings.items():
        setattr(config, name, value)
    context = WorkerContext(None)
    worker = Worker(app, loop, config, context, {}, limits or Limits())
    pipe = Pipe(loop)
    given_back: list[bytes] = []
    connection = Connection(
        worker,
        pipe,
        lambda data, _: given_back.append(data),
        scheme="http",
        client=("192.0.2.1", 5),
        server=("192.0.2.2", 80),
    )
    pipe.protocol = connection
    return Wired(pipe, connection, context, given_back)


def as_app(app: Any) -> App:
    """hypercorn's shape of an app."""

    async def wrapped(scope: Scope, receive: Receive, send: Send, *_: object) -> None:
        await app(scope, receive, send)

    return cast(App, wrapped)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data in pieces, cut at these places (each modulo its length)."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


@dataclass
class Request:
    """A request as an app was given it, body and all."""

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass
class Outcome:
    """The whole requests that a server took from some bytes, and how it ended: "waiting", "closed" or a refusal's reason."""

    requests: list[Request]
    end: str
    status: int = 0


async def outcome(reads: Sequence[bytes]) -> Outcome:
    """What this engine makes of these reads."""
    found: list[Request] = []

    async def keep(scope: Scope, receive: Receive, send: Send) -> None:
        body = await body_of(receive)
        if body is not None:
            target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            found.append(Request(scope["method"], target, scope["http_version"], scope["headers"], body))
            await answer(send, b"")

    wire = wired(as_app(keep))
    for read in reads:
        await wire.feed(read)
    end, status = "waiting", 0
    if wire.pipe.ended or wire.given_back:
        end = "closed"
    refusal = REFUSAL.search(wire.pipe.written)
    if refusal:
        end, status = refusal[2].decode(), int(refusal[1])
    await wire.end()
    return Outcome(found, end, status)
