"""A connection's life: requests in a row, clients that leave in every way, and what an app is told about it."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
from contextvars import ContextVar

import pytest

from api.asgi import Message, Receive, Scope, Send
from tests.harness.waiting import eventually
from tests.http1.conftest import Serve
from tests.http1.serving import Client, Serving, answer, app_of, body_of, echo, get, post
from tests.http1.wired import as_app, wired


def reset(client: Client) -> None:
    """Close as a process that was killed does: with a reset."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


def test_a_thousand_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    server = serve(echo)
    bodies = [str(number).encode() for number in range(1000)]

    with server.connect() as client:
        sender = threading.Thread(target=client.send, args=(b"".join(map(post, bodies)),))
        sender.start()
        answered = [client.answer("POST").body for _ in bodies]
        sender.join()

    assert answered == bodies


def test_pipelined_requests_are_not_begun_before_the_first_is_answered(serve: Serve) -> None:
    begun: list[str] = []
    first_came, go = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        first_came.set()
        await asyncio.to_thread(go.wait, 5)
        await answer(send, scope["path"].encode())

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get(b"/1") + get(b"/2"))
        assert first_came.wait(5)
        while_waiting = list(begun)
        go.set()
        answered = [client.answer().body, client.answer().body]

    assert while_waiting == ["/1"]
    assert answered == [b"/1", b"/2"]


def test_what_follows_a_request_that_says_close_is_not_read(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.send(get(b"/", b"connection: close") + get())
        raw = client.rest()

    assert raw.count(b"HTTP/1.1 200 OK") == 1


def test_requests_before_a_bad_one_are_answered(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.send(post(b"good") + b"BAD\r\n\r\n" + get())
        first, second = client.answer("POST"), client.answer()

    assert (first.status, first.body) == (200, b"good")
    assert (second.status, second.keeps_alive) == (400, False)


def test_a_request_can_come_byte_by_byte(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"one") + get():
            client.send(bytes([byte]))
        first, second = client.answer("POST"), client.answer()

    assert (first.body, second.status) == (b"one", 200)


@pytest.mark.parametrize("leave", ["close", "reset", "half-close"])
def test_an_app_that_waits_is_told_that_its_client_left(serve: Serve, leave: str) -> None:
    came, left = threading.Event(), threading.Event()
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        came.set()
        seen.append(await receive())
        left.set()

    server = serve(app_of(app))
    client = server.connect()
    client.send(post(b"one"))
    assert came.wait(5)

    if leave == "reset":
        reset(client)
    elif leave == "close":
        client.sock.close()
    else:
        client.sock.shutdown(socket.SHUT_WR)

    assert left.wait(5)
    assert seen == [{"type": "http.disconnect"}]
    client.sock.close()


def test_a_client_that_leaves_within_its_body_is_told_after_what_had_come(serve: Serve) -> None:
    seen: list[Message] = []
    got, left = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1]["type"] == "http.request":
            seen.append(await receive())
            got.set()
        left.set()

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(post(b"one", length=100))
        assert got.wait(5)

    assert left.wait(5)
    assert seen[-1] == {"type": "http.disconnect"}
    assert b"".join(message["body"] for message in seen[:-1]) == b"one"
    assert all(message["more_body"] for message in seen[:-1])


def test_an_app_may_send_to_a_client_that_left(serve: Serve) -> None:
    came, left, ended = threading.Event(), threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        came.set()
        await asyncio.to_thread(left.wait, 5)
        await receive()
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    server = serve(app_of(app))
    client = server.connect()
    client.send(get())
    assert came.wait(5)

    reset(client)
    left.set()

    assert ended.wait(5)


def test_a_client_that_half_closes_is_still_answered_by_an_app_that_answers_anyway(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.send(post(b"one") + post(b"two") + b"POST / HTTP/1.1\r\nhost: t\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        raw = client.rest()

    assert raw.count(b"HTTP/1.1 200 OK") == 2
    assert b"\r\n\r\none" in raw
    assert raw.endswith(b"\r\n\r\ntwo")


def test_a_client_that_half_closes_at_once_ends_the_connection(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.sock.shutdown(socket.SHUT_WR)
        raw = client.rest()

    assert raw == b""


def test_no_reset_at_any_byte_leaves_anything_behind(serve: Serve) -> None:
    running: set[object] = set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        me = object()
        running.add(me)
        try:
            await echo(scope, receive, send)
        finally:
            running.discard(me)

    server = serve(app_of(app))
    raw = post(b"hello", b"x: y") + post(b"hello")

    for end in range(len(raw) + 1):
        client = server.connect()
        client.send(raw[:end])
        reset(client)

    assert server.ask(post(b"still here"), method="POST").body == b"still here"
    eventually(lambda: len(running), lambda count: count == 0)
    assert eventually(lambda: connections_of(server), lambda count: count == 0) == 0


def connections_of(server: Serving) -> int:
    """How many connections and requests its loop has a task for."""
    ours = ("_server_callback", "Exchange.run")

    async def count() -> int:
        return sum(str(task.get_coro()).partition(" at ")[0].endswith(ours) for task in asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), server.loop).result(5)


def test_a_thousand_connections_leave_no_task_behind(serve: Serve) -> None:
    server = serve(echo)
    open_now = 0

    for _ in range(250):
        clients = [server.connect() for _ in range(4)]
        for client in clients:
            client.send(get())
        for client in clients:
            client.answer()
        open_now = connections_of(server)
        for client in clients:
            client.sock.close()

    assert open_now >= 4
    assert eventually(lambda: connections_of(server), lambda count: count == 0) == 0


def test_one_request_does_not_see_the_context_of_another(serve: Serve) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(who.get())
        who.set(scope["path"])
        await answer(send, b"")

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get(b"/1") + get(b"/2"))
        client.answer(), client.answer()
        client.send(get(b"/3"))
        client.answer()

    assert seen == ["nobody"] * 3


def test_a_connection_ends_after_its_last_request(serve: Serve) -> None:
    server = serve(echo, keep_alive_max_requests=2)

    with server.connect() as client:
        client.send(get() * 3)
        first, second = client.answer(), client.answer()
        rest = client.rest()

    assert (first.keeps_alive, second.keeps_alive, second.headers["connection"]) == (True, False, "close")
    assert rest == b""


def test_two_waits_for_news_are_both_told(serve: Serve) -> None:
    told: list[Message] = []
    came, both = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        first, second = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        cancelled = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        cancelled.cancel()
        came.set()
        told.extend(await asyncio.gather(first, second))
        both.set()

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get())
        assert came.wait(5)

    assert both.wait(5)
    assert told == [{"type": "http.disconnect"}] * 2


def test_a_stream_reaches_its_client_event_by_event(serve: Serve) -> None:
    taken = threading.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(5):
            await send({"type": "http.response.body", "body": b"event %d\n" % number, "more_body": True})
            await asyncio.to_thread(taken.acquire)
        await send({"type": "http.response.body", "body": b""})

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get())
        events = []
        for number in range(5):
            events.append(client.raw(b"event %d\n\r\n" % number))
            taken.release()
        end = client.raw(b"0\r\n\r\n")

    assert len(events) == 5
    assert end == b"0\r\n\r\n"


def test_an_app_that_counts_requests_stops_its_worker(serve: Serve) -> None:
    server = serve(echo, max_requests=2)

    for _ in range(3):
        server.ask(get(b"/", b"connection: close"))

    assert server.stopped.wait(5)


def test_the_access_log_has_a_line_for_each_request(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    lines = logging.getLogger("test.http1.access")
    server = serve(echo, accesslog=lines, access_log_format="%(m)s %(U)s %(s)s")

    with caplog.at_level("INFO", lines.name):
        server.ask(get(b"/seen"))
        found = eventually(lambda: list(caplog.messages), bool)

    assert found == ["GET /seen 200"]


async def test_a_reset_that_is_seen_only_when_the_connection_ends_leaves_nothing_behind() -> None:
    wire = wired(as_app(echo))
    wire.pipe.is_reset = True

    await wire.feed(b"BAD\r\n\r\n")
    over = wire.connection.over.done()
    await wire.end()

    assert over
