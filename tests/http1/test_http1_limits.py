"""What a client cannot do: hold a connection without sending, make this side keep what it does not read, or refuse to read."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from api.asgi import Message, Receive, Scope, Send
from api.http1 import Limits
from tests.harness.waiting import eventually
from tests.http1.conftest import Serve
from tests.http1.serving import App, Client, answer, app_of, body_of, echo, get, post

SHORT = Limits(head_s=0.3, body_idle_s=0.3, keep_alive_s=0.3, write_s=0.3, drain_head_s=0.3, linger_s=0.3)


@contextmanager
def dripping(client: Client, data: bytes, every_s: float = 0.02) -> Iterator[None]:
    """Send a byte at a time in the background until the server has enough or the context ends."""
    stop = threading.Event()

    def drip() -> None:
        for byte in data:
            if stop.wait(every_s):
                return
            try:
                client.send(bytes([byte]))
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_limit_is_above_zero() -> None:
    with pytest.raises(ValueError, match="queued_body_bytes, head_s"):
        Limits(head_s=0, queued_body_bytes=-1)


def test_a_head_that_never_ends_is_given_up(serve: Serve) -> None:
    server = serve(echo, limits=SHORT)

    with server.connect() as client:
        began = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nhost: t\r\n")
        answered = client.answer()

    assert (answered.status, answered.keeps_alive) == (408, False)
    assert time.monotonic() - began < 3


def test_a_head_that_drips_is_given_up_as_one_that_stops(serve: Serve) -> None:
    server = serve(echo, limits=SHORT)

    with server.connect() as client:
        began = time.monotonic()
        with dripping(client, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 1000):
            raw = client.rest()

    assert raw.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 3


def test_the_second_head_of_a_connection_has_its_time_too(serve: Serve) -> None:
    server = serve(echo, limits=replace(SHORT, keep_alive_s=30))

    with server.connect() as client:
        client.send(get())
        client.answer()
        client.send(b"GET / HT")
        answered = client.answer()

    assert answered.status == 408


def test_a_connection_that_says_nothing_is_closed_without_a_word(serve: Serve) -> None:
    server = serve(echo, limits=SHORT)

    with server.connect() as fresh, server.connect() as used:
        used.send(get())
        used.answer()
        words = [fresh.rest(), used.rest()]

    assert words == [b"", b""]


@pytest.mark.parametrize("framing", [b"content-length: 100000", b"transfer-encoding: chunked"])
def test_a_body_that_stops_is_given_up_and_the_app_is_told(serve: Serve, framing: bytes) -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1]["type"] == "http.request":
            seen.append(await receive())

    server = serve(app_of(app), limits=SHORT)

    with server.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nhost: t\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n")
        answered = client.answer("POST")
        eventually(lambda: seen[-1]["type"], lambda kind: kind == "http.disconnect")

    assert (answered.status, answered.keeps_alive) == (408, False)


def test_a_body_that_drips_is_given_up_as_one_that_stops(serve: Serve) -> None:
    server = serve(echo, limits=SHORT)

    with server.connect() as client:
        began = time.monotonic()
        client.send(post(b"", length=100_000))
        with dripping(client, b"x" * 1000):
            raw = client.rest()

    assert raw.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 3


def test_a_body_that_is_slow_but_goes_on_is_taken(serve: Serve) -> None:
    server = serve(echo, limits=replace(SHORT, body_step_bytes=10))

    with server.connect() as client:
        client.send(post(b"", length=300))
        for _ in range(10):
            client.send(b"x" * 30)
            time.sleep(0.06)
        answered = client.answer("POST")

    assert answered.body == b"x" * 300


def test_an_answer_that_takes_long_is_waited_for(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await asyncio.sleep(0.8)
        await answer(send, b"late")

    server = serve(app_of(app), limits=SHORT)

    with server.connect() as client:
        client.send(post(b"one") + b"GET / HTTP/1.1\r\n")
        answered = client.answer("POST")

    assert answered.body == b"late"


def test_an_app_that_reads_late_does_not_let_its_client_time_out(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.8)
        body = await body_of(receive)
        await answer(send, b"%d" % len(body or b""))

    server = serve(app_of(app), limits=replace(SHORT, queued_body_bytes=10_000))

    with server.connect() as client:
        client.send(post(b"x" * 3_000_000))
        answered = client.answer("POST")

    assert answered.body == b"3000000"


def test_a_client_that_waits_for_100_continue_does_not_time_out(serve: Serve) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.8)
        await echo(scope, receive, send)

    server = serve(app_of(app), limits=SHORT)

    with server.connect() as client:
        client.send(post(b"", b"expect: 100-continue", length=3))
        client.raw(b"100 Continue\r\n\r\n")
        client.send(b"one")
        answered = client.answer("POST")

    assert answered.body == b"one"


def test_a_client_that_was_told_to_continue_and_does_not_is_given_up(serve: Serve) -> None:
    server = serve(echo, limits=SHORT)

    with server.connect() as client:
        client.send(post(b"", b"expect: 100-continue", length=3))
        client.raw(b"100 Continue\r\n\r\n")
        answered = client.answer("POST")

    assert answered.status == 408


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 1_000_000, 414),
        (b"GET / HTTP/1.1\r\nhost: t\r\nx: " + b"a" * 1_000_000, 431),
        (b"GET / HTTP/1.1\r\nhost: t\r\n" + b"x: y\r\n" * 150_000, 431),
        (get(b"/", *[b"x: y"] * 200), 431),
        (post(b"", length=5)[:-2] + b"transfer-encoding: chunked\r\n\r\n", 400),
    ],
    ids=["a line of 1 MB", "a header of 1 MB", "1 MB of headers", "200 headers", "two lengths"],
)
def test_a_head_beyond_its_limits_is_refused_and_not_kept(serve: Serve, sent: bytes, status: int) -> None:
    server = serve(echo)
    server.ask(get())
    tracemalloc.start()

    with server.connect() as client:
        client.send(sent)
        answered = client.answer()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (answered.status, answered.keeps_alive) == (status, False)
    assert peak_bytes < 900_000


def sent_until_refused(client: Client, data: bytes) -> int:
    """Bytes that the kernel and the server took before nothing moved for 0.5 s."""
    client.sock.settimeout(0.5)
    sent = 0
    try:
        while sent < 100_000_000:
            sent += client.sock.send(data)
    except TimeoutError:
        pass
    client.sock.settimeout(10)
    return sent


def test_the_body_of_an_app_that_does_not_read_stays_in_the_socket(serve: Serve) -> None:
    go = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(go.wait, 20)
        size = 0
        while (message := await receive())["more_body"]:
            size += len(message["body"])
        await answer(send, b"%d" % (size + len(message["body"])))

    server = serve(app_of(app))
    tracemalloc.start()

    with server.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
        client.send(post(b"", length=100_000_000))
        sent = sent_until_refused(client, b"x" * 100_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        go.set()
        rest = 100_000_000 - sent
        while rest:
            rest -= client.sock.send(b"x" * min(rest, 500_000))
        answered = client.answer("POST")

    assert sent < 20_000_000
    assert peak_bytes < 1_500_000
    assert answered.body == b"100000000"


def test_requests_that_are_sent_ahead_stay_in_the_socket(serve: Serve) -> None:
    go = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(go.wait, 20)
        await answer(send, b"")

    server = serve(app_of(app))
    tracemalloc.start()

    with server.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
        sent = sent_until_refused(client, get() * 3000)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        go.set()
        first = client.answer()

    assert sent < 20_000_000
    assert peak_bytes < 1_500_000
    assert first.status == 200


def at_rest(count: Callable[[], int]) -> int:
    """A count above 0 that did not change for 0.2 s."""
    seen: list[int] = []

    def unchanged() -> bool:
        seen.append(count())
        return len(seen) > 4 and seen[-1] == seen[-5] > 0

    eventually(unchanged, bool, every_s=0.05)
    return seen[-1]


def endless(sent: list[int]) -> App:
    """An app that answers without end, and counts what it could send."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        watch = asyncio.ensure_future(receive())
        while not watch.done():
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            sent.append(10_000)

    return app


def test_an_app_waits_for_a_client_that_does_not_read(serve: Serve) -> None:
    sent: list[int] = []
    server = serve(app_of(endless(sent)))
    tracemalloc.start()

    with server.connect(receive_buffer=4096) as client:
        client.send(get())
        held = at_rest(lambda: sum(sent))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for _ in range(200):
            client.sock.recv(65_536)
        more = eventually(lambda: sum(sent), lambda now: now > held)

    assert held < 20_000_000
    assert peak_bytes < 1_000_000
    assert more > held


@pytest.mark.parametrize("reads_ahead", [False, True])
def test_a_client_that_takes_nothing_is_cut_and_the_app_is_told(serve: Serve, reads_ahead: bool) -> None:
    ended = threading.Event()
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await endless(sent)(scope, receive, send)
        ended.set()

    server = serve(app_of(app), limits=SHORT)

    with server.connect(receive_buffer=4096) as client:
        client.send(get() * (2 if reads_ahead else 1))
        told = ended.wait(5)

    assert told


def test_a_client_that_reads_slowly_is_served_to_the_end(serve: Serve) -> None:
    size = 3_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * size)

    server = serve(app_of(app), limits=replace(SHORT, write_s=0.5, linger_s=0.1))

    with server.connect(receive_buffer=65_536) as client:
        client.send(get(b"/", b"connection: close"))
        taken = 0
        while piece := client.sock.recv(40_000):
            taken += len(piece)
            time.sleep(0.015)

    assert taken > size


def test_a_client_that_takes_nothing_of_a_whole_answer_is_cut(serve: Serve) -> None:
    over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answer(send, b"x" * 20_000_000)
        finally:
            over.set()

    server = serve(app_of(app), limits=SHORT)

    with server.connect(receive_buffer=4096) as client:
        client.send(get(b"/", b"connection: close"))
        cut = over.wait(5)

    assert cut


def test_a_pipeline_that_is_not_read_is_not_worked_off(serve: Serve) -> None:
    answered: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(1)
        await answer(send, b"x" * 30_000)

    server = serve(app_of(app))

    with server.connect(receive_buffer=4096) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
        client.send(get() * 1000)
        stuck = at_rest(lambda: len(answered))
        bodies = [len(client.answer().body) for _ in range(1000)]

    assert stuck < 800
    assert bodies == [30_000] * 1000
