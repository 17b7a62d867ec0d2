"""What stays hypercorn's: WebSockets, HTTP/2 in all three ways to it, and TLS; the engine hands over what it has read."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage
from wsproto.events import Event as WsEvent

from api.asgi import Receive, Scope, Send
from tests.harness.certificates import Authority
from tests.http1.conftest import Serve
from tests.http1.serving import Client, app_of, echo, get, post

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def both(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes texts over a WebSocket, and bodies over anything else."""
    if scope["type"] != "websocket":
        await echo(scope, receive, send)
        return
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


class WebSocket:
    """A client of a WebSocket on a raw connection."""

    def __init__(self, client: Client, before: bytes = b"") -> None:
        self._client = client
        self._socket = WSConnection(ConnectionType.CLIENT)
        client.send(before + self._socket.send(Request(host="test", target="/ws")))

    def answer(self) -> WsEvent:
        while True:
            for event in self._socket.events():
                return event
            self._socket.receive_data(self._client.sock.recv(65_536))

    def say(self, event: WsEvent) -> None:
        self._client.send(self._socket.send(event))


def test_a_websocket_is_served_by_hypercorn(serve: Serve) -> None:
    server = serve(both)

    with server.connect() as client:
        ws = WebSocket(client)
        accepted = ws.answer()
        ws.say(TextMessage("one"))
        said = ws.answer()
        ws.say(CloseConnection(1000))
        closed = ws.answer()

    assert isinstance(accepted, AcceptConnection)
    assert isinstance(said, TextMessage)
    assert said.data == "one"
    assert isinstance(closed, CloseConnection)


def test_a_connection_can_become_a_websocket_after_plain_requests(serve: Serve) -> None:
    server = serve(both)

    with server.connect() as client:
        client.send(post(b"plain"))
        plain = client.answer("POST")
        ws = WebSocket(client)
        accepted = ws.answer()
        ws.say(TextMessage("one"))
        said = ws.answer()

    assert plain.body == b"plain"
    assert isinstance(accepted, AcceptConnection)
    assert isinstance(said, TextMessage)


def test_a_websocket_that_is_asked_for_ahead_waits_for_the_answers_before_it(serve: Serve) -> None:
    server = serve(both)

    with server.connect() as client:
        ws = WebSocket(client, before=post(b"plain"))
        before = client.raw(b"plain")
        accepted = ws.answer()

    assert before.startswith(b"HTTP/1.1 200 OK")
    assert isinstance(accepted, AcceptConnection)


def test_an_upgrade_that_nobody_grants_is_a_plain_request(serve: Serve) -> None:
    server = serve(both)

    with server.connect() as client:
        client.send(post(b"one", b"connection: upgrade", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__"))
        with_a_body = client.answer("POST")
        client.send(get(b"/", b"connection: upgrade", b"upgrade: tls/1.2"))
        unknown = client.answer()

    assert (with_a_body.status, with_a_body.body, with_a_body.keeps_alive) == (200, b"one", True)
    assert (unknown.status, unknown.keeps_alive) == (200, True)


def asked_over_h2(
    sock: socket.socket, connection: h2.connection.H2Connection, stream: int | None, body: bytes
) -> bytes:
    """The body of the answer to one request over HTTP/2; on `stream` it was asked already."""
    if stream is None:
        stream = connection.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "test")]
        connection.send_headers(stream, headers)
        connection.send_data(stream, body, end_stream=True)
    sock.sendall(connection.data_to_send())
    found = b""
    while True:
        for event in connection.receive_data(sock.recv(65_536)):
            if isinstance(event, h2.events.DataReceived):
                found += event.data or b""
            elif isinstance(event, h2.events.StreamEnded):
                return found
        sock.sendall(connection.data_to_send())


def h2_client() -> h2.connection.H2Connection:
    return h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))


@pytest.mark.parametrize("cut", [None, 3, 18, 20])
def test_http_2_with_prior_knowledge_is_served_by_hypercorn(serve: Serve, cut: int | None) -> None:
    server = serve(both)
    connection = h2_client()
    connection.initiate_connection()
    first = connection.data_to_send()

    with server.connect() as client:
        if cut is not None:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.send(first[:cut])
        client.send(first[cut:])
        answered = asked_over_h2(client.sock, connection, None, b"over two")

    assert first.startswith(PREFACE)
    assert answered == b"over two"


def test_http_2_by_upgrade_is_served_by_hypercorn(serve: Serve) -> None:
    server = serve(both)
    connection = h2_client()
    settings = connection.initiate_upgrade_connection()

    with server.connect() as client:
        client.send(
            get(b"/", b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: " + (settings or b""))
        )
        switched = client.raw(b"\r\n\r\n")
        answered = asked_over_h2(client.sock, connection, 1, b"")
        again = asked_over_h2(client.sock, connection, None, b"and again")

    assert switched.startswith(b"HTTP/1.1 101 ")
    assert answered == b""
    assert again == b"and again"


def test_the_preface_of_http_2_is_no_second_request(serve: Serve) -> None:
    server = serve(both)

    with server.connect() as client:
        client.send(get() + PREFACE)
        first, second = client.answer(), client.answer()

    assert (first.status, second.status) == (200, 505)


def tls(folder: Path, *protocols: str) -> tuple[tuple[Path, Path], ssl.SSLContext]:
    """A certificate for localhost with its key, and a client that trusts it and offers these protocols."""
    authority = Authority(folder)
    authority.vouches_for("localhost")
    context = ssl.create_default_context(cafile=authority.roots)
    context.set_alpn_protocols(list(protocols))
    pem = folder / "localhost.pem"
    return (pem, pem), context


def test_http_1_over_tls_is_served_by_the_engine(serve: Serve, tmp_path: Path) -> None:
    certificate, context = tls(tmp_path, "http/1.1")
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    server = serve(app, certificate=certificate)

    with server.connect(tls=context) as client:
        client.send(post(b"x" * 300_000) + post(b"two"))
        first, second = client.answer("POST"), client.answer("POST")
        client.send(b"BAD\r\n\r\n")
        third = client.answer()
        rest = client.rest()

    assert (len(first.body), second.body, third.status, rest) == (300_000, b"two", 400, b"")
    assert third.body, "only our refusal says why"
    assert [scope["scheme"] for scope in scopes if scope["type"] == "http"] == ["https", "https"]


def test_http_2_over_tls_is_served_by_hypercorn(serve: Serve, tmp_path: Path) -> None:
    certificate, context = tls(tmp_path, "h2", "http/1.1")
    server = serve(both, certificate=certificate)
    connection = h2_client()
    connection.initiate_connection()

    with server.connect(tls=context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        chosen = client.sock.selected_alpn_protocol()
        answered = asked_over_h2(client.sock, connection, None, b"over two")

    assert chosen == "h2"
    assert answered == b"over two"


def test_an_app_is_told_that_its_client_left_over_tls(serve: Serve, tmp_path: Path) -> None:
    certificate, context = tls(tmp_path, "http/1.1")
    came, left = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        came.set()
        while (await receive())["type"] == "http.request":
            pass
        left.set()

    server = serve(app_of(app), certificate=certificate)

    with server.connect(tls=context) as client:
        client.send(post(b"", length=10))
        assert came.wait(5)

    assert left.wait(5)
