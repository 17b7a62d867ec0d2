"""Answers on the wire: how they are framed, what an app may not do, and that both engines show an app the same request."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Sequence
from typing import Any

import h11
import pytest
from hypercorn.utils import UnexpectedMessageError

from api.asgi import Message, Receive, Scope, Send
from api.http1.errors import AnswerTooLong, AnswerTooShort, BadAnswerHead
from tests.harness.waiting import eventually
from tests.http1.conftest import Serve
from tests.http1.serving import Loop, answer, app_of, body_of, echo, get, post, serving
from tests.http1.wired import as_app, wired

Headers = Sequence[tuple[bytes, bytes]]


def speaking(*messages: Message, faults: list[BaseException] | None = None) -> Any:
    """An app that sends these messages, and keeps what that raised."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        for message in messages:
            try:
                await send(message)
            except Exception as fault:
                if faults is not None:
                    faults.append(fault)
                raise

    return app_of(app)


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def test_a_request_with_a_body_is_answered_and_the_connection_goes_on(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.send(post(b"one"))
        first = client.answer("POST")
        client.send(b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\nT: v\r\n\r\n")
        second = client.answer("POST")

    assert (first.status, first.body, first.keeps_alive) == (200, b"one", True)
    assert (second.status, second.body, second.keeps_alive) == (200, b"two", True)


def test_an_answer_without_a_length_is_chunked(serve: Serve) -> None:
    server = serve(speaking(start(), body(b"one", more=True), body(b"", more=True), body(b"two")))

    with server.connect() as client:
        client.send(get(b"/", b"connection: close"))
        raw = client.rest()

    assert b"\r\ntransfer-encoding: chunked\r\n" in raw
    assert raw.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_http_1_0_gets_an_answer_that_ends_with_the_connection(serve: Serve) -> None:
    server = serve(speaking(start(), body(b"one", more=True), body(b"two")))

    with server.connect() as client:
        client.send(get(version=b"1.0"))
        raw = client.rest()

    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in raw
    assert b"transfer-encoding" not in raw
    assert raw.endswith(b"\r\n\r\nonetwo")


@pytest.mark.parametrize("headers", [[(b"content-length", b"3")], []])
def test_head_gets_the_headers_of_get_and_no_body(serve: Serve, headers: Headers) -> None:
    server = serve(speaking(start(*headers), body(b"one")))

    with server.connect() as client:
        client.send(b"HEAD / HTTP/1.1\r\nhost: t\r\n\r\n")
        first = client.answer("HEAD")
        client.send(get())
        second = client.answer()

    assert first.body == b""
    for framing in ("content-length", "transfer-encoding"):
        assert first.headers.get(framing) == second.headers.get(framing)
    assert second.body == b"one"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_is_not_framed(serve: Serve, status: int) -> None:
    server = serve(speaking(start(status=status), body(b"ignored")))

    with server.connect() as client:
        client.send(get() * 2)
        first, second = client.answer(), client.answer()

    assert (first.status, first.body, second.status) == (status, b"", status)
    assert "transfer-encoding" not in first.headers


def test_head_and_body_go_out_in_one_write() -> None:
    async def run() -> int:
        wire = wired(as_app(echo))
        await wire.feed(post(b"one"))
        writes = wire.pipe.writes
        await wire.end()
        return writes

    assert asyncio.run(run()) == 1


def test_the_head_waits_for_the_first_of_its_body(serve: Serve) -> None:
    asked, go = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        asked.set()
        await asyncio.to_thread(go.wait, 5)
        await send(body(b"", more=True))
        await body_of(receive)
        await receive()

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get())
        assert asked.wait(5)
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        go.set()
        client.sock.settimeout(5)
        head = client.raw(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_app_that_says_close_is_heard(serve: Serve) -> None:
    server = serve(speaking(start((b"Connection", b"close"), (b"content-length", b"0")), body()))

    with server.connect() as client:
        client.send(get())
        raw = client.rest()

    assert raw.lower().count(b"connection: close") == 1


def test_the_framing_of_the_app_is_replaced_by_ours(serve: Serve) -> None:
    server = serve(speaking(start((b"transfer-encoding", b"gzip"), (b"content-length", b"9")), body(b"one")))

    answered = server.ask(get())

    assert answered.body == b"one"
    assert answered.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answered.headers


def test_an_answer_has_one_date_and_the_server_where_it_is_wanted(serve: Serve) -> None:
    own = b"Tue, 15 Nov 1994 08:12:31 GMT"
    server = serve(speaking(start((b"content-length", b"0")), body()), include_server_header=False)
    dated = serve(speaking(start((b"Date", own), (b"content-length", b"0")), body()))

    plain = server.ask(get(b"/", b"connection: close"))
    with dated.connect() as client:
        client.send(get(b"/", b"connection: close"))
        raw = client.rest()

    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", plain.headers["date"])
    assert "server" not in plain.headers
    assert raw.lower().count(b"\r\ndate: ") == 1
    assert own in raw
    assert b"\r\nserver: hypercorn-h11\r\n" in raw


BAD_HEADS: list[tuple[int, Headers]] = [
    (200, [(b"x", b"a\r\nset-cookie: b")]),
    (200, [(b"x", b"a\nb")]),
    (200, [(b"x", b"a\rb")]),
    (200, [(b"x", b"a\0b")]),
    (200, [(b"x\r\ny", b"a")]),
    (200, [(b"x:", b"a")]),
    (200, [(b"", b"a")]),
    (200, [(b":status", b"200")]),
    (200, [(b"content-length", b"1"), (b"content-length", b"2")]),
    (200, [(b"content-length", b"-1")]),
    (200, [(b"content-length", b"1, 1")]),
    (100, []),
    (101, []),
    (1000, []),
]


@pytest.mark.parametrize(("status", "headers"), BAD_HEADS)
def test_a_head_that_must_not_go_out_becomes_a_500(status: int, headers: Headers) -> None:
    faults: list[BaseException] = []

    with serving(speaking(start(*headers, status=status), body(b"x"), faults=faults)) as server:
        answered = server.ask(get())

    assert (answered.status, answered.keeps_alive) == (500, False)
    assert [type(fault) for fault in faults] == [BadAnswerHead]


def test_more_body_than_was_promised_is_cut_off_and_is_the_apps_fault(serve: Serve) -> None:
    faults: list[BaseException] = []
    server = serve(
        speaking(start((b"content-length", b"3")), body(b"on", more=True), body(b"e and more"), faults=faults)
    )

    with server.connect() as client:
        client.send(get() * 2)
        raw = client.rest()

    assert raw.count(b"HTTP/1.1 ") == 1
    assert raw.endswith(b"\r\n\r\none")
    assert eventually(lambda: [type(fault) for fault in faults], bool) == [AnswerTooLong]


def test_less_body_than_was_promised_is_seen_by_the_client(serve: Serve) -> None:
    faults: list[BaseException] = []
    server = serve(speaking(start((b"content-length", b"5")), body(b"one"), faults=faults))

    with server.connect() as client:
        client.send(get())
        with pytest.raises(h11.RemoteProtocolError):
            client.answer()

    assert eventually(lambda: [type(fault) for fault in faults], bool) == [AnswerTooShort]


@pytest.mark.parametrize(
    "messages",
    [[], [start()], [body(b"x")], [start(), start()], [start(), {"type": "http.response.trailers", "headers": []}]],
    ids=["nothing", "a head alone", "a body alone", "two heads", "trailers"],
)
def test_an_app_that_fails_before_its_body_is_a_500(serve: Serve, messages: list[Message]) -> None:
    server = serve(speaking(*messages))

    answered = server.ask(get())

    assert (answered.status, answered.headers["connection"]) == (500, "close")


def test_an_app_that_raises_before_its_body_is_a_500(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start((b"content-length", b"3")))
        raise RuntimeError("a bug")

    server = serve(app_of(app))

    answered = server.ask(get())

    assert answered.status == 500


@pytest.mark.parametrize("raises", [True, False])
def test_an_app_that_ends_within_its_body_is_seen_by_the_client(serve: Serve, raises: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"one", more=True))
        if raises:
            raise RuntimeError("a bug")

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get())
        raw = client.rest()

    assert raw.endswith(b"\r\n\r\n3\r\none\r\n")


def test_messages_out_of_order_raise_what_hypercorn_raises(serve: Serve) -> None:
    faults: list[BaseException] = []
    server = serve(speaking(start((b"content-length", b"0")), body(), body(), faults=faults))

    answered = server.ask(get(b"/", b"connection: close"))

    assert answered.status == 200
    assert eventually(lambda: [type(fault) for fault in faults], bool) == [UnexpectedMessageError]


def test_an_app_may_go_on_after_its_answer_while_the_next_request_is_answered(serve: Serve) -> None:
    second_came, first_ended = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x")
        if scope["path"] == "/second":
            second_came.set()
        else:
            assert (await receive())["type"] == "http.disconnect"
            await asyncio.to_thread(second_came.wait, 5)
            first_ended.set()

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get() + get(b"/second"))
        statuses = [client.answer().status, client.answer().status]

    assert statuses == [200, 200]
    assert first_ended.wait(5)


def test_a_body_in_pieces_is_given_in_pieces_and_ends(serve: Serve) -> None:
    seen: list[Message] = []
    got = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            seen.append(message)
            got.set()
            if not message.get("more_body"):
                break
        await answer(send, b"")

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(post(b"one", length=6))
        assert got.wait(5)
        client.send(b"two")
        client.answer("POST")

    assert seen == [
        {"type": "http.request", "body": b"one", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]


def test_100_continue_is_said_when_the_app_asks_for_the_body(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.send(post(b"", b"expect: 100-continue", length=3))
        first = client.raw(b"\r\n\r\n")
        client.send(b"one")
        answered = client.answer("POST")

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (answered.status, answered.body, answered.keeps_alive) == (200, b"one", True)


def test_100_continue_is_not_said_when_the_body_came_with_the_head(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.send(post(b"one", b"expect: 100-continue", b"connection: close"))
        raw = client.rest()

    assert b"100 Continue" not in raw
    assert raw.endswith(b"\r\n\r\none")


def test_100_continue_is_not_said_when_the_app_refuses_unseen(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 413)

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(post(b"", b"expect: 100-continue", length=1_000_000))
        raw = client.rest()

    assert raw.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close\r\n" in raw


def test_an_early_answer_reaches_a_client_that_still_sends(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 413)

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(post(b"", length=3_000_000))
        client.send(b"x" * 1_000_000)
        raw = client.rest()

    assert raw.startswith(b"HTTP/1.1 413 ")
    assert raw.endswith(b"no")


REQUESTS = {
    "a path that is encoded": get(b"/a%20b%2Fc/%C3%A9?q=%20&x"),
    "an empty query": get(b"/a?"),
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n",
    "an absolute target": b"GET http://test/a?b HTTP/1.1\r\nHost: test\r\n\r\n",
    "headers": b"GET / HTTP/1.1\r\nHost: test\r\nX-A:  1 \r\nx-a: 2\r\nX-Empty:\r\nX-Latin: \xe9\r\n\r\n",
    "HTTP/1.0": b"GET /old HTTP/1.0\r\n\r\n",
    "a body": post(b"one", b"content-type: text/plain"),
    "chunks": b"POST / HTTP/1.1\r\nhost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
    "no body, stated": post(b""),
    "a two in the path": get(b"//a//b/../c"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_app_is_shown_the_scope_that_hypercorn_shows(loop: Loop, name: str) -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["shared"] = "of the lifespan"
            await echo(scope, receive, send)
            return
        await body_of(receive)
        scopes.append(dict(scope))
        await answer(send, b"")

    for engine in ("fast", "hypercorn"):
        with serving(app, loop, engine=engine, root_path="/root") as server:
            server.ask(REQUESTS[name])

    ours, theirs = scopes
    for scope in scopes:
        assert scope.pop("client")[0] == "127.0.0.1"
        assert scope.pop("server")[0] == "127.0.0.1"
    assert ours == theirs
    assert ours["state"] == {"shared": "of the lifespan"}


def test_what_a_request_puts_into_its_state_is_its_own(serve: Serve) -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["state"]))
        scope["state"]["mine"] = True
        await answer(send, b"")

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get() * 2)
        client.answer(), client.answer()

    assert seen == [{}, {}]


def test_a_host_that_is_not_configured_is_not_found(serve: Serve) -> None:
    server = serve(echo, server_names=["here.example"])

    other = server.ask(get())
    here = server.ask(b"GET / HTTP/1.1\r\nHost: here.example\r\n\r\n")

    assert (other.status, here.status) == (404, 200)


def test_a_refusal_says_why(serve: Serve) -> None:
    server = serve(echo)

    answered = server.ask(b"GET / HTTP/1.1\r\n\r\n")

    assert (answered.status, answered.keeps_alive) == (400, False)
    assert answered.body == b"there must be exactly one host header\n"
