"""Where hypercorn chooses the class of a connection, ours is put; it gives back what is not plain HTTP/1.

hypercorn keeps the sockets, TLS and ALPN, HTTP/2 and WebSockets, the lifespan, signals and the shutdown: its worker makes one
task per connection, and waits for these tasks when it stops.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.utils import parse_socket_addr

from api.http1.connection import Connection
from api.http1.limits import Limits
from api.http1.worker import App, Worker

READ_BYTES = 64 * 1024

_ENGINE = "TCPServer"
"""The name under which `hypercorn.asyncio.run` looks for the class of a connection. hypercorn 0.18."""


class EngineServer(TCPServer):
    """hypercorn's connection, whose HTTP/1 is ours. `worker` is set before it is awaited."""

    worker: Worker

    async def run(self) -> None:
        ssl_object = self.writer.get_extra_info("ssl_object")
        if ssl_object is not None and ssl_object.selected_alpn_protocol() == "h2":
            await super().run()
            return
        transport = cast(asyncio.Transport, self.writer.transport)
        stream = cast(asyncio.StreamReaderProtocol, transport.get_protocol())
        try:
            connection = self._take_over(transport, stream, "http" if ssl_object is None else "https")
        except OSError:
            self.writer.close()
            return
        try:
            if await connection.over:
                await super().run()
                await connection.quiet()
            else:
                # The transport told us, and not the stream that it began with. It lets go of its reader, writer and task: a ring of
                # sixteen objects, otherwise the garbage collector's work for every connection.
                stream.connection_lost(None)
        except asyncio.CancelledError:
            # hypercorn's time for draining is over. The task ends as it was asked to: asyncio's streams would log a cancelled one
            # as a failure, with a stack for every connection.
            await connection.cancel()

    def _take_over(self, transport: asyncio.Transport, stream: asyncio.StreamReaderProtocol, scheme: str) -> Connection:
        """Put our protocol where the stream's was. Raises OSError when the client is gone already."""
        sock = transport.get_extra_info("socket")
        client = parse_socket_addr(sock.family, sock.getpeername())
        server = parse_socket_addr(sock.family, sock.getsockname())

        def give_back(data: bytes, blocked: bool) -> None:
            transport.set_protocol(stream)
            self.reader.feed_data(data)
            if blocked:
                stream.pause_writing()

        connection = Connection(self.worker, transport, give_back, scheme=scheme, client=client, server=server)
        transport.set_protocol(connection)
        data, ended = already_read(self.reader)
        if data:
            connection.data_received(data)
        if ended and not connection.eof_received():
            transport.close()
        if self.worker.draining:
            connection.drain()
        return connection


def already_read(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """What a stream holds, and whether the client has ended its side; never waits.

    A read of a stream that holds something returns in its first step; one that would wait is closed where it waits.
    """
    pieces: list[bytes] = []
    while True:
        step = reader.read(READ_BYTES)
        try:
            step.send(None)
        except StopIteration as done:
            piece: bytes = done.value
            if not piece:
                return b"".join(pieces), True
            pieces.append(piece)
        else:
            step.close()
            return b"".join(pieces), False


def install(limits: Limits) -> Callable[[], None]:
    """From now on hypercorn's asyncio workers of this process serve HTTP/1 by this engine; returns what undoes it.

    Call it once, before `worker_serve`; connections that are open when it is undone stay as they are.
    """
    workers: WeakKeyDictionary[WorkerContext, Worker] = WeakKeyDictionary()
    before: object = getattr(run, _ENGINE)

    def engine(app: App, loop: asyncio.AbstractEventLoop, *arguments: Any) -> EngineServer:
        config, context, state, reader, writer = arguments
        server = EngineServer(cast(Any, app), loop, config, context, state, reader, writer)
        if (worker := workers.get(context)) is None:
            worker = workers[context] = Worker(app, loop, config, context, state, limits)
        server.worker = worker
        return server

    def undo() -> None:
        setattr(run, _ENGINE, before)

    setattr(run, _ENGINE, engine)
    return undo
