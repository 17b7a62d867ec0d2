"""Stopping: what is idle ends at once, what is being answered is answered, and nothing waits longer than it may."""

from __future__ import annotations

import asyncio
import threading
import time

import hypercorn.asyncio.run as hypercorn_run
import pytest

from api.asgi import Receive, Scope, Send
from api.http1 import Limits, install
from tests.http1.conftest import Serve
from tests.http1.serving import Seen, answer, app_of, body_of, echo, get, post


def test_idle_connections_end_when_the_worker_stops(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as fresh, server.connect() as used:
        used.send(get())
        used.answer()
        began = time.monotonic()
        server.stop()
        words = [fresh.rest(), used.rest()]
        stopped = server.stopped.wait(5)

    assert words == [b"", b""]
    assert stopped
    assert time.monotonic() - began < 2


def test_a_request_that_is_being_answered_is_answered_and_its_connection_ends(serve: Serve) -> None:
    came, go = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        came.set()
        await asyncio.to_thread(go.wait, 5)
        await answer(send, b"late")

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get() * 2)
        assert came.wait(5)
        server.stop()
        running = not server.stopped.wait(0.2)
        go.set()
        answered = client.answer()
        rest = client.rest()
        stopped = server.stopped.wait(5)

    assert running
    assert (answered.body, answered.headers["connection"], rest) == (b"late", "close", b"")
    assert stopped


def test_a_stream_that_goes_on_is_sent_to_its_end(serve: Serve) -> None:
    came, go = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        came.set()
        await asyncio.to_thread(go.wait, 5)
        await send({"type": "http.response.body", "body": b"two"})

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(get())
        assert came.wait(5)
        server.stop()
        go.set()
        answered = client.answer()
        rest = client.rest()

    assert (answered.body, rest) == (b"onetwo", b"")


def test_a_request_whose_body_is_under_way_is_taken_to_its_end(serve: Serve) -> None:
    came = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        came.set()
        await echo(scope, receive, send)

    server = serve(app_of(app))

    with server.connect() as client:
        client.send(post(b"one", length=6))
        assert came.wait(5)
        server.draining()
        client.send(b"two")
        answered = client.answer("POST")

    assert (answered.body, answered.keeps_alive) == (b"onetwo", False)


def test_a_head_that_is_under_way_may_end_and_is_answered(serve: Serve) -> None:
    server = serve(echo)

    with server.connect() as client:
        client.send(get())
        client.answer()
        client.send(b"GET / HTTP/1.1\r\nho")
        time.sleep(0.1)  # until the server has read it, which nothing shows
        server.draining()
        client.send(b"st: t\r\n\r\n")
        answered = client.answer()

    assert (answered.status, answered.keeps_alive) == (200, False)


def test_a_head_that_does_not_end_does_not_hold_the_worker(serve: Serve) -> None:
    server = serve(echo, limits=Limits(drain_head_s=0.3))

    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nho")
        time.sleep(0.1)  # as above
        began = time.monotonic()
        server.stop()
        answered = client.answer()
        stopped = server.stopped.wait(5)

    assert answered.status == 408
    assert stopped
    assert time.monotonic() - began < 3


def test_what_is_not_answered_in_time_is_cancelled_without_a_word(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen()
    came = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        came.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.cancelled.set()
            raise

    server = serve(app_of(app), graceful_timeout=0.3)

    with server.connect() as client:
        client.send(get())
        assert came.wait(5)
        server.stop()
        raw = client.rest()
        stopped = server.stopped.wait(5)

    assert seen.cancelled.is_set()
    assert raw == b""
    assert stopped
    assert caplog.messages == []


def test_the_worker_waits_for_apps_whose_clients_left(serve: Serve) -> None:
    came, go, settled = threading.Event(), threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        came.set()
        await receive()
        await asyncio.to_thread(go.wait, 5)
        settled.set()

    server = serve(app_of(app))
    with server.connect() as client:
        client.send(get())
        assert came.wait(5)

    server.stop()
    running = not server.stopped.wait(0.2)
    go.set()

    assert running
    assert server.stopped.wait(5)
    assert settled.is_set()


def test_undoing_puts_hypercorns_class_back() -> None:
    before = vars(hypercorn_run)["TCPServer"]

    undo = install(Limits())
    between = vars(hypercorn_run)["TCPServer"]
    undo()

    assert between is not before
    assert vars(hypercorn_run)["TCPServer"] is before
