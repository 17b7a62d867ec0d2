"""An endpoint that is asked without ASGI's messages answers the same bytes as one behind them, on both event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from hypercorn.utils import UnexpectedMessageError

from api.asgi import REQUEST_ID, ClientLeft, Receive, Scope, Send
from api.client import AsgiClient, Client
from api.http1.errors import BadAnswerHead
from relay.errors import TooLarge
from tests.http1.conftest import Serve
from tests.http1.serving import Serving, app_of, get, post

Endpoint = Callable[[Client], Awaitable[None]]
LIMIT_BYTES = 100_000
LINES = (b"content-type: text/plain\r\n", b"x-one: 1\r\n")


class Both:
    """An app whose POSTs an endpoint answers: directly for our engine, over ASGI for any other way."""

    def __init__(self, endpoint: Endpoint, *, directly: bool) -> None:
        self._endpoint = endpoint
        self._directly = directly

    def direct(self, method: str, target: bytes) -> Endpoint | None:
        return self._endpoint if self._directly and method == "POST" and target == b"/" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await app_of(self._over_asgi)(scope, receive, send)

    async def _over_asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[REQUEST_ID] = "given"
        await self._endpoint(AsgiClient(scope, receive, send))


@pytest.fixture(params=[True, False], ids=["directly", "over ASGI"])
def directly(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def echo(client: Client) -> None:
    with suppress(ClientLeft):
        await client.answer(200, LINES, await client.body(LIMIT_BYTES))


async def spell(client: Client) -> None:
    """A stream of as many pieces as the body has bytes; every second one is taken at once, where the client is ready."""
    body = await client.body(LIMIT_BYTES)
    await client.begin(200, LINES)
    for at in range(len(body)):
        piece = body[at : at + 1]
        if at % 2 and client.is_ready:
            client.take(piece)
        else:
            await client.write(piece)
    await client.finish()


def test_a_whole_answer_has_its_lines_and_its_length_and_the_connection_goes_on(serve: Serve, directly: bool) -> None:
    server: Serving = serve(Both(echo, directly=directly))

    with server.connect() as client:
        client.send(
            post(b"one")
            + post(b"")
            + b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
        )
        answers = [client.answer("POST") for _ in range(3)]

    assert [(answer.status, answer.body, answer.keeps_alive) for answer in answers] == [
        (200, b"one", True),
        (200, b"", True),
        (200, b"two", True),
    ]
    assert {name: answers[0].headers[name] for name in ("content-type", "x-one", "content-length")} == {
        "content-type": "text/plain",
        "x-one": "1",
        "content-length": "3",
    }
    assert "date" in answers[0].headers


def test_a_stream_is_chunked_and_whole(serve: Serve, directly: bool) -> None:
    server: Serving = serve(Both(spell, directly=directly))

    with server.connect() as client:
        client.send(post(b"letters") * 2)
        answers = [client.answer("POST"), client.answer("POST")]

    assert [(answer.body, answer.headers["transfer-encoding"]) for answer in answers] == [(b"letters", "chunked")] * 2


def test_an_empty_piece_does_not_end_a_stream(serve: Serve, directly: bool) -> None:
    async def pausing(client: Client) -> None:
        await client.body(LIMIT_BYTES)
        await client.begin(200, LINES)
        for piece in (b"", b"one", b"", b"two"):
            await client.write(piece)
        if client.is_ready:
            client.take(b"")
        await client.finish()

    server: Serving = serve(Both(pausing, directly=directly))

    with server.connect() as client:
        client.send(post(b"abc") * 2)
        answers = [client.answer("POST"), client.answer("POST")]

    assert [answer.body for answer in answers] == [b"onetwo"] * 2


@pytest.mark.parametrize("endpoint", [echo, spell])
def test_http_1_0_and_who_closes_get_the_end_of_the_connection(
    serve: Serve, directly: bool, endpoint: Endpoint
) -> None:
    server: Serving = serve(Both(endpoint, directly=directly))

    old = server.ask(post(b"abc").replace(b"HTTP/1.1", b"HTTP/1.0"), method="POST")
    closing = server.ask(post(b"abc", b"connection: close"), method="POST")

    assert (old.body, old.keeps_alive, "transfer-encoding" in old.headers) == (b"abc", False, False)
    assert (closing.body, closing.keeps_alive) == (b"abc", False)


def test_a_body_that_comes_late_or_in_pieces_is_read_whole(serve: Serve, directly: bool) -> None:
    server: Serving = serve(Both(echo, directly=directly))
    asked = post(b"x" * 5_000, b"expect: 100-continue")
    head, body = asked[:-5_000], asked[-5_000:]

    with server.connect() as client:
        client.send(head)
        invited = client.raw(b"\r\n\r\n")
        for at in range(0, 5_000, 1_250):
            client.send(body[at : at + 1_250])
        answer = client.answer("POST")

    assert invited.startswith(b"HTTP/1.1 100")
    assert answer.body == b"x" * 5_000


def test_a_body_beyond_the_limit_is_an_error_of_the_endpoint(serve: Serve, directly: bool) -> None:
    found: list[BaseException] = []

    async def strict(client: Client) -> None:
        try:
            await client.body(10)
        except TooLarge as error:
            found.append(error)
            await client.answer(413, LINES, b"no")

    server: Serving = serve(Both(strict, directly=directly))

    answer = server.ask(post(b"x" * 11), method="POST")

    assert (answer.status, answer.body, len(found)) == (413, b"no", 1)


def test_an_endpoint_is_told_when_its_client_leaves_also_when_it_had_left_before(serve: Serve, directly: bool) -> None:
    told = [threading.Event(), threading.Event()]
    here = threading.Event()

    async def watching(client: Client) -> None:
        await client.body(LIMIT_BYTES)
        gone = asyncio.Event()
        here.set()
        client.watch(gone.set)
        await gone.wait()
        told[0].set()
        client.unwatch()
        client.watch(told[1].set)

    server: Serving = serve(Both(watching, directly=directly))

    with server.connect() as client:
        client.send(post(b"abc"))
        assert here.wait(5)

    assert told[0].wait(5)
    assert told[1].wait(5)


def test_who_watches_no_more_is_not_told(serve: Serve, directly: bool) -> None:
    told: list[str] = []
    over = threading.Event()

    async def once(client: Client) -> None:
        body = await client.body(LIMIT_BYTES)
        client.watch(lambda: told.append("left"))
        client.unwatch()
        await client.answer(200, LINES, body)
        over.set()

    server: Serving = serve(Both(once, directly=directly))

    with server.connect() as client:
        client.send(post(b"abc"))
        client.answer("POST")
        assert over.wait(5)

    assert server.ask(post(b"again"), method="POST").status == 200
    assert told == []


@pytest.mark.parametrize(
    "line", [b"x-bad: a\r\nx-more: b\r\n", b"x-bad: a\n", b"x-bad: a\0\r\n", b"x-bad: a"], ids=repr
)
def test_a_line_that_says_more_than_one_header_is_never_written(serve: Serve, line: bytes) -> None:
    found: list[BaseException] = []

    async def splitting(client: Client) -> None:
        await client.body(LIMIT_BYTES)
        for answering in (client.answer(200, [line], b""), client.begin(200, [line])):
            try:
                await answering
            except BadAnswerHead as error:
                found.append(error)
        await client.answer(200, LINES, b"good")

    server: Serving = serve(Both(splitting, directly=True))

    answer = server.ask(post(b"abc"), method="POST")

    assert len(found) == 2
    assert (answer.body, "x-more" in answer.headers) == (b"good", False)


def test_what_is_out_of_order_is_an_error_and_ends_the_connection_where_an_answer_had_begun(serve: Serve) -> None:
    found: list[BaseException] = []

    async def twice(client: Client) -> None:
        await client.body(LIMIT_BYTES)
        for wrong in (client.write(b"early"), client.finish()):
            try:
                await wrong
            except UnexpectedMessageError as error:
                found.append(error)
        await client.answer(200, LINES, b"once")
        await client.answer(200, LINES, b"twice")

    server: Serving = serve(Both(twice, directly=True))

    with server.connect() as client:
        client.send(post(b"abc"))
        answer = client.answer("POST")
        client.send(post(b"abc"))
        after = client.answer("POST")

    assert len(found) >= 2
    assert (answer.body, after.body) == (b"once", b"once")


def test_an_endpoint_that_fails_before_it_answers_is_an_error_500_and_says_nothing_of_why(serve: Serve) -> None:
    async def failing(client: Client) -> None:
        await client.body(LIMIT_BYTES)
        raise RuntimeError("a secret")

    server: Serving = serve(Both(failing, directly=True))

    answer = server.ask(post(b"abc"), method="POST")

    assert (answer.status, b"secret" in answer.body) == (500, False)


def test_only_the_paths_of_an_endpoint_are_its_own(serve: Serve) -> None:
    server: Serving = serve(Both(echo, directly=True))

    other = server.ask(post(b"abc", path=b"/?x=1"), method="POST")
    reading = server.ask(get())

    assert other.body == b"abc"
    assert reading.status == 200


def test_a_client_that_takes_nothing_is_waited_for(serve: Serve) -> None:
    progress: list[int] = []
    size = 64 * 1024

    async def flooding(client: Client) -> None:
        await client.body(LIMIT_BYTES)
        await client.begin(200, LINES)
        for _ in range(400):
            await client.write(b"x" * size)
            progress.append(client.is_ready)
        await client.finish()

    server: Serving = serve(Both(flooding, directly=True))

    with server.connect(receive_buffer=4096) as client:
        client.send(post(b"abc"))
        client.raw(b"\r\n\r\n")
        waiting = threading.Event().wait(0.3)
        sent_untaken = len(progress)
        client.sock.shutdown(1)
        whole = client.rest()

    assert not waiting
    assert sent_untaken < 400
    assert whole.endswith(b"0\r\n\r\n")
    assert len(whole) > 400 * size
