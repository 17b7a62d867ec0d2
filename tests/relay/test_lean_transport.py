import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from relay.lean import transport as transports
from relay.lean.transport import LeanTransport
from relay.lean_pool import LeanUpstream
from tests.harness.lean_calls import HELLO, chunked, pooled
from tests.harness.raw_peer import RawPeer, Script, Wire, answering, on_both_loops, once, silent


@asynccontextmanager
async def browsing(
    script: Script, *, timeout_s: float | None = 5
) -> AsyncIterator[tuple[httpx.AsyncClient, LeanUpstream, RawPeer]]:
    async with (
        pooled(script) as (pool, peer),
        httpx.AsyncClient(transport=LeanTransport(pool.pool), base_url=peer.url, timeout=timeout_s) as client,
    ):
        yield client, pool, peer


@on_both_loops
async def test_an_httpx_client_calls_through_the_pool() -> None:
    async with browsing(answering(HELLO)) as (client, pool, peer):
        answer = await client.post("/v1/x?a=b", json={"a": 1}, headers={"X-Key": "k"})

        assert (answer.status_code, answer.text, answer.http_version) == (200, "hello", "HTTP/1.1")
        assert answer.headers["content-type"] == "application/json"
        head, _, body = peer.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/x?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
        assert body == b'{"a":1}'
        lines = head.lower().split(b"\r\n")
        assert {b"x-key: k", b"content-length: 7"} <= set(lines)
        assert len({line.partition(b":")[0] for line in lines}) == len(lines)
        assert pool.idle_connections == 1


async def test_closing_a_client_leaves_the_pool_to_its_owner() -> None:
    async with pooled(answering(HELLO)) as (pool, peer):
        for _ in range(3):
            async with httpx.AsyncClient(transport=LeanTransport(pool.pool)) as client:
                assert (await client.get(peer.url)).text == "hello"

        assert len(peer.wires) == 1


async def test_a_request_without_a_body_states_none_and_a_put_states_that_it_is_empty() -> None:
    async with browsing(answering(HELLO)) as (client, _, peer):
        await client.get("/")
        await client.put("/")

        assert [b"content-length" in request.lower() for request in peer.requests] == [False, True]


async def test_an_answer_to_head_has_no_body_whatever_its_head_says() -> None:
    async with browsing(answering(HELLO.removesuffix(b"hello"))) as (client, pool, _):
        answer = await client.head("/")

        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "5")
        assert pool.idle_connections == 0


async def test_a_body_that_is_made_as_it_is_sent_goes_out_whole() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    async with browsing(answering(HELLO)) as (client, _, peer):
        await client.post("/", content=parts())

        assert peer.requests[0].endswith(b"\r\n\r\nabcd")
        assert b"transfer-encoding" not in peer.requests[0].lower()


async def test_a_body_past_its_bound_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "MAX_BODY_BYTES", 10)
    async with browsing(answering(HELLO)) as (client, _, peer):
        with pytest.raises(httpx.LocalProtocolError):
            await client.post("/", content=b"x" * 11)

        assert peer.wires == []


async def test_a_stream_is_read_as_it_comes() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(chunked(b"one")[:-5])
        await go_on.wait()
        await wire.send(b"3\r\ntwo\r\n0\r\n\r\n")
        await wire.client_left()

    async with browsing(script) as (client, pool, _), client.stream("GET", "/") as answer:
        parts = answer.aiter_bytes()
        first = await anext(parts)
        go_on.set()

        assert [first, *[part async for part in parts]] == [b"one", b"two"]
        assert pool.idle_connections == 1


async def test_leaving_a_stream_early_closes_its_connection() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(chunked(b"one")[:-5])
        await wire.client_left()

    async with browsing(script) as (client, pool, peer):
        async with client.stream("GET", "/") as answer:
            assert await anext(answer.aiter_raw()) == b"one"

        await peer.has(lambda peer: peer.open == 0)
        assert pool.idle_connections == 0


async def test_an_encoded_answer_is_decoded_once() -> None:
    body = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with browsing(answering(head + body)) as (client, _, peer):
        answer = await client.get("/")

        assert answer.text == "hello"
        assert b"accept-encoding: gzip, deflate\r\n" in peer.requests[0].lower()


async def test_cookies_that_come_twice_are_both_kept() -> None:
    cookies = HELLO.replace(b"OK", b"OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2")
    async with browsing(answering(cookies)) as (client, _, _):
        answer = await client.get("/")

        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert dict(client.cookies) == {"a": "1", "b": "2"}


async def test_errors_are_told_as_httpx_tells_them(unused_tcp_port: int) -> None:
    async with browsing(once(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")) as (client, _, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{unused_tcp_port}/")
        with pytest.raises(httpx.ConnectError):
            await client.get("/", headers={"X": "a\r\nY: b"})


@on_both_loops
async def test_an_answer_that_does_not_come_in_time_is_a_read_timeout() -> None:
    async def halts(wire: Wire) -> None:
        await wire.request()
        if wire.number:
            await wire.send(chunked(b"one")[:-5])
        await wire.client_left()

    async with browsing(halts, timeout_s=0.05) as (client, pool, peer):
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/")

        await peer.has(lambda peer: peer.open == 0)
        assert pool.open_connections == 0


async def test_a_connection_that_is_not_made_in_time_is_a_connect_timeout() -> None:
    async with pooled(silent, connections=1) as (pool, peer):
        async with httpx.AsyncClient(transport=LeanTransport(pool.pool), timeout=0.05) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await client.get(f"https://localhost:{peer.port}/")

        assert pool.pool.seats.taken == 0


async def test_a_redirect_is_followed_by_httpx_and_not_by_the_pool() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
    async with browsing(answering(moved, moved, HELLO)) as (client, _, peer):
        assert (await client.get("/here")).status_code == 302
        assert (await client.get("/here", follow_redirects=True)).text == "hello"

        assert [request.split()[1] for request in peer.requests] == [b"/here", b"/here", b"/there"]
