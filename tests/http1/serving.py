"""A real hypercorn worker in a thread of the test, and a client that speaks raw bytes to it.

The server's sockets are its own, on 127.0.0.1; it is told to stop when the context ends, and the context ends when it has stopped.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import h11
import uvloop
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config

from api.asgi import Message, Receive, Scope, Send
from api.http1 import Limits, install
from tests.harness.waiting import eventually

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Loop = Literal["uvloop", "asyncio"]
PATIENCE_S = 10.0
HOST = b"host: test\r\n"


@dataclass
class Serving:
    """A running server. `stop` tells it to stop without waiting; `stopped` is set when it has."""

    port: int
    loop: asyncio.AbstractEventLoop
    stop: Callable[[], None]
    stopped: threading.Event

    def connect(self, *, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> Client:
        """A new connection. `receive_buffer` in bytes makes a client that takes little before it is read."""
        sock = socket.socket()
        sock.settimeout(PATIENCE_S)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            sock.connect(("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        return Client(tls.wrap_socket(sock, server_hostname="localhost") if tls else sock)

    def draining(self) -> None:
        """Tell it to stop, and wait until it takes no more connections."""
        self.stop()
        eventually(self._refuses, bool)

    def _refuses(self) -> bool:
        try:
            self.connect().sock.close()
        except ConnectionError:
            return True
        return False

    def ask(self, raw: bytes, *, method: str = "GET") -> Answer:
        """One request on a connection of its own."""
        with self.connect() as client:
            client.send(raw)
            return client.answer(method)


@dataclass
class Answer:
    """One answer, read by h11. `closed` says that the server ended the connection before another request could follow."""

    status: int
    headers: dict[str, str]
    body: bytes
    http_version: str
    keeps_alive: bool


class Client:
    """One connection: bytes out, answers in. Answers are read in order, one h11 cycle each."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = h11.Connection(h11.CLIENT)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """The next whole answer. Raises h11.RemoteProtocolError when it is broken off."""
        reader = self._reader
        reader.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
        reader.send(h11.EndOfMessage())
        head = self._event()
        while isinstance(head, h11.InformationalResponse):
            head = self._event()
        assert isinstance(head, h11.Response), f"expected an answer, got {head!r}"
        body = bytearray()
        while isinstance(event := self._event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), f"expected the end of the answer, got {event!r}"
        keeps_alive = reader.our_state is h11.DONE and reader.their_state is h11.DONE
        if keeps_alive:
            reader.start_next_cycle()
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Answer(head.status_code, headers, bytes(body), head.http_version.decode(), keeps_alive)

    def raw(self, until: bytes) -> bytes:
        """What comes, up to and with `until`, and not a byte more."""
        data = bytearray()
        while not data.endswith(until):
            piece = self.sock.recv(1)
            assert piece, f"the server ended after {bytes(data)!r}"
            data += piece
        return bytes(data)

    def rest(self) -> bytes:
        """What comes until the server ends the connection; a reset ends it too."""
        data = bytearray()
        try:
            while piece := self.sock.recv(65_536):
                data += piece
        except ConnectionResetError:
            pass
        return bytes(data)

    def _event(self) -> object:
        while (event := self._reader.next_event()) is h11.NEED_DATA:
            try:
                self._reader.receive_data(self.sock.recv(65_536))
            except ConnectionResetError:
                self._reader.receive_data(b"")
        return event


@contextmanager
def serving(
    app: App,
    loop: Loop = "uvloop",
    *,
    limits: Limits | None = None,
    engine: Literal["fast", "hypercorn"] = "fast",
    certificate: tuple[Path, Path] | None = None,
    **settings: object,
) -> Iterator[Serving]:
    """Serve until the context ends. `settings` are attributes of hypercorn's Config; `certificate` is its file and its key's."""
    config = _config(certificate, settings)
    sockets = config.create_sockets()
    (listener,) = sockets.secure_sockets or sockets.insecure_sockets
    listener.listen(100)
    running = threading.Event()
    stopped = threading.Event()
    found: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        found.append((asyncio.get_running_loop(), stop))
        running.set()
        await worker_serve(ASGIWrapper(cast(Any, app)), config, sockets=sockets, shutdown_trigger=stop.wait)

    def serve() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
                runner.run(run())
        finally:
            running.set()
            stopped.set()

    undo = install(limits or Limits()) if engine == "fast" else None
    thread = threading.Thread(target=serve, name=f"serving-{loop}")
    thread.start()
    running.wait()
    running_loop, stop = found[0]

    def tell() -> None:
        if not stopped.is_set():
            running_loop.call_soon_threadsafe(stop.set)

    try:
        yield Serving(listener.getsockname()[1], running_loop, tell, stopped)
    finally:
        tell()
        thread.join(PATIENCE_S)
        listener.close()
        if undo is not None:
            undo()
    assert not thread.is_alive(), f"the server did not stop within {PATIENCE_S} s"


def _config(certificate: tuple[Path, Path] | None, settings: dict[str, object]) -> Config:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.graceful_timeout = 5
    if certificate is not None:
        config.certfile, config.keyfile = map(str, certificate)
    for name, value in settings.items():
        assert hasattr(config, name), f"hypercorn's Config has no {name}"
        setattr(config, name, value)
    return config


@dataclass
class Seen:
    """An app that keeps what it was given, and lets a test wait for it."""

    scopes: list[Scope] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when the app was told that its client is gone."""
    cancelled: threading.Event = field(default_factory=threading.Event)


async def body_of(receive: Receive) -> bytes | None:
    """The whole body; None when the client left before its end."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message["body"]
        if not message["more_body"]:
            return body


async def answer(send: Send, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    """A whole answer with its length."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body it read; says nothing when the client left."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif (body := await body_of(receive)) is not None:
        await answer(send, body)


async def live(receive: Receive, send: Send) -> None:
    """The lifespan of an app that needs none."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def app_of(http: App) -> App:
    """An app with a lifespan, whose requests `http` answers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        else:
            await http(scope, receive, send)

    return app


def post(body: bytes, *lines: bytes, path: bytes = b"/", length: int | None = None) -> bytes:
    """A POST with its content-length and further header lines."""
    stated = len(body) if length is None else length
    head = [b"POST %b HTTP/1.1" % path, b"host: test", b"content-length: %d" % stated, *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def get(path: bytes = b"/", *lines: bytes, version: bytes = b"1.1") -> bytes:
    """A GET with a host and further header lines."""
    return b"\r\n".join([b"GET %b HTTP/%b" % (path, version), b"host: test", *lines]) + b"\r\n\r\n"
