"""A server that knows no HTTP: it sends the bytes its script says, when it says, and closes as it says.

It lives in the test's own loop, so a test can wait for what it saw.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, Self

import pytest
import uvloop

WITHIN_S = 10.0


class Gone(Exception):
    """The client has left."""


class Wire:
    """One accepted connection, as its script sees it. `number` counts them from 0."""

    def __init__(self, peer: RawPeer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = len(peer.wires)
        self.is_open = True
        self.sent = 0
        self._peer = peer
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """The next request: its head, and as much body as that states. Raises Gone."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            whole = head + await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone from error
        self._peer.requests.append(whole)
        return whole

    async def head(self) -> None:
        """Read a request's head and not its body."""
        await self._reader.readuntil(b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise Gone from error
        self.sent += len(data)

    async def slowly(self, data: bytes) -> None:
        """Byte by byte, each in a packet of its own."""
        for at in range(len(data)):
            await self.send(data[at : at + 1])
            await asyncio.sleep(0)

    @property
    def tls_protocol(self) -> str | None:
        """What was agreed on by ALPN."""
        chosen: str | None = self._writer.get_extra_info("ssl_object").selected_alpn_protocol()
        return chosen

    async def copy_to(self, other: asyncio.StreamWriter) -> None:
        """Hand on what the client sends, as it comes."""
        while data := await self._reader.read(65536):
            other.write(data)
            await other.drain()

    def reset(self) -> None:
        """RST: what was sent and not read is lost."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def drop(self) -> None:
        """Close the TCP connection; under TLS without saying goodbye."""
        self._writer.transport.abort()

    async def client_left(self) -> None:
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()


Script = Callable[[Wire], Awaitable[None]]


def answering(*answers: bytes) -> Script:
    """Answer the first request of a connection with the first of these, and so on; the last one is for all that follow."""

    async def script(wire: Wire) -> None:
        left = list(answers)
        while True:
            await wire.request()
            await wire.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def once(answer: bytes) -> Script:
    """Answer one request and close."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer)

    return script


def in_turn(*scripts: Script) -> Script:
    """The first connection plays the first script, and so on; the last one is for all that follow."""

    async def script(wire: Wire) -> None:
        await scripts[min(wire.number, len(scripts) - 1)](wire)

    return script


async def silent(wire: Wire) -> None:
    """Take a request and never answer."""
    await wire.request()
    await wire.client_left()


class RawPeer:
    """`async with RawPeer(script) as peer`: every connection plays the script and is closed after it."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.wires: list[Wire] = []
        self._script = script
        self._tls = tls
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "it is asked while it listens"
        if self._port:
            return self._port
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}"

    @property
    def open(self) -> int:
        return sum(wire.is_open for wire in self.wires)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None, "it was entered"
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop_listening(self) -> None:
        """Nobody is accepted any more; who was goes on."""
        assert self._server is not None, "it listens"
        self._port = self.port
        self._server.close()

    async def has(self, what: Callable[[RawPeer], bool]) -> None:
        """Wait until something is true of it."""
        await until(lambda: what(self))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "servers serve in tasks"
        self._tasks.add(task)
        wire = Wire(self, reader, writer)
        self.wires.append(wire)
        try:
            await self._play(wire)
        except asyncio.CancelledError:
            wire.drop()
        finally:
            wire.is_open = False
            self._tasks.discard(task)

    async def _play(self, wire: Wire) -> None:
        with suppress(Gone):
            await self._script(wire)
        await wire.close()


async def until(what: Callable[[], bool]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(WITHIN_S):
        while not what():  # noqa: ASYNC110 - what is waited for sets no event: counts of open sockets and files
            await asyncio.sleep(0.001)


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on asyncio's own loop and on uvloop: they differ where connections end."""

    @wraps(test)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(**arguments)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(bounded())

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), new_loop])  # type: ignore[attr-defined]
    both = pytest.mark.parametrize(
        "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    parametrized: Callable[..., None] = both(run)
    return parametrized
