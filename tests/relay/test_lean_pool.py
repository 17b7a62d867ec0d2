import asyncio
import gc
import gzip
import zlib
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from relay.errors import UpstreamCut, UpstreamUnreachable
from relay.lean import pool as pools
from relay.lean.answer import HIGH_WATER_BYTES
from relay.lean.connection import Connection
from relay.lean_pool import LeanUpstream
from relay.reach import Reach
from relay.upstream import AnswerTooLarge, Outgoing, Sending, Tap
from tests.harness.lean_calls import HELLO, PLENTY_BYTES, called, chunked, outgoing, pooled
from tests.harness.raw_peer import RawPeer, Script, Wire, answering, in_turn, on_both_loops, once, silent, until

ZIPPED = gzip.compress(b"hello", mtime=0)
DEFLATED = zlib.compress(b"hello")


@on_both_loops
async def test_a_request_is_one_head_with_the_length_of_its_body() -> None:
    async with pooled(answering(HELLO)) as (pool, peer):
        headers = {"Authorization": "Bearer sk-1", "Accept-Encoding": "identity"}

        answer = await pool.open(Outgoing(f"{peer.url}/v1/chat?x=%20y#z", headers, b'{"a":1}'), Sending())

        assert await answer.read(5) == b"hello"
        assert peer.requests == [
            b"POST /v1/chat?x=%%20y HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer sk-1\r\n"
            b'Accept-Encoding: identity\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}'
            % peer.port
        ]


async def test_a_content_type_that_is_named_stands_alone() -> None:
    async with pooled(answering(HELLO)) as (pool, peer):
        headers = {"content-type": "multipart/form-data; boundary=x"}

        await pool.open(Outgoing(peer.url, headers, b""), Sending())

        assert peer.requests[0].lower().count(b"content-type") == 1
        assert b"content-type: multipart/form-data; boundary=x\r\n" in peer.requests[0]


async def test_headers_are_found_in_any_case_and_listed_in_lower_case() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Request-ID: abc \r\nVia: a\r\nvia: b\r\nContent-Length: 0\r\n\r\n"
    async with pooled(answering(head)) as (pool, peer):
        headers = (await pool.open(outgoing(peer.url), Sending())).headers

        assert headers["x-request-id"] == headers.get("X-Request-Id") == "abc"
        assert dict(headers.items()) == {"x-request-id": "abc", "via": "a, b", "content-length": "0"}
        assert (headers.get("retry-after", ""), headers.get("retry-after")) == ("", None)


@on_both_loops
async def test_calls_one_after_the_other_share_a_connection() -> None:
    async with pooled(answering(HELLO, chunked(b"a", b"bc"), HELLO)) as (pool, peer):
        bodies = [(await called(pool, peer.url))[1] for _ in range(4)]

        assert bodies == [b"hello", b"abc", b"hello", b"hello"]
        assert len(peer.wires) == pool.open_connections == pool.idle_connections == 1


@on_both_loops
async def test_two_hundred_calls_on_sixteen_connections_get_their_own_answers() -> None:
    async def echo(wire: Wire) -> None:
        while True:
            body = (await wire.request()).partition(b"\r\n\r\n")[2]
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            await wire.send(body)

    async with pooled(echo) as (pool, peer):
        asked = [b"%d" % number * (1 + number % 7) for number in range(200)]

        answers = await asyncio.gather(*(called(pool, peer.url, body) for body in asked))

        assert [body for _, body in answers] == asked
        assert len(peer.wires) == pool.idle_connections == 16


async def test_who_waits_is_served_in_order_of_arrival() -> None:
    order: list[bytes] = []

    async def script(wire: Wire) -> None:
        while True:
            order.append((await wire.request())[-2:])
            await wire.send(HELLO)

    async with pooled(script, connections=1) as (pool, peer):
        await asyncio.gather(*(called(pool, peer.url, b"%02d" % number) for number in range(30)))

        assert order == [b"%02d" % number for number in range(30)]


async def test_a_cap_of_one_origin_does_not_hold_up_another() -> None:
    async with pooled(silent, connections=4, per_origin=2) as (pool, peer), RawPeer(answering(HELLO)) as other:
        stuck = [asyncio.create_task(called(pool, peer.url)) for _ in range(3)]
        await peer.has(lambda peer: len(peer.requests) == 2)

        assert await called(pool, other.url) == (200, b"hello")
        assert (len(peer.wires), pool.pool.seats.waiting) == (2, 1)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_an_idle_connection_makes_room_for_another_origin() -> None:
    async with pooled(answering(HELLO), connections=2) as (pool, peer), RawPeer(answering(HELLO)) as other:
        await asyncio.gather(called(pool, peer.url), called(pool, peer.url))

        assert await called(pool, other.url) == (200, b"hello")

        assert pool.open_connections <= 2
        await peer.has(lambda peer: peer.open == 1)


async def test_a_freed_connection_makes_room_for_who_has_waited_longer_for_another_origin() -> None:
    async with pooled(answering(HELLO), connections=1) as (pool, peer), RawPeer(answering(HELLO)) as other:
        urls = [peer.url, other.url, peer.url, other.url, other.url]

        answers = await asyncio.gather(*(called(pool, url) for url in urls))

        assert answers == [(200, b"hello")] * 5
        assert (len(peer.wires), len(other.wires)) == (2, 2)


async def test_no_more_wait_than_may() -> None:
    async with pooled(silent, connections=1, max_waiting=2) as (pool, peer):
        tasks = [asyncio.create_task(called(pool, peer.url)) for _ in range(3)]
        await peer.has(lambda peer: len(peer.requests) == 1)

        with pytest.raises(UpstreamUnreachable, match="2 calls wait"):
            await called(pool, peer.url)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_idle_connection_is_closed_when_its_time_is_over_and_the_timer_goes_with_it() -> None:
    async with pooled(answering(HELLO), idle_s=0.03) as (pool, peer):
        await called(pool, peer.url)

        await peer.has(lambda peer: peer.open == 0)

        assert (pool.open_connections, pool.idle_connections, pool.pool.seats.taken) == (0, 0, 0)
        assert not any("_sweep" in str(handle) for handle in scheduled() if not handle.cancelled())


async def body_of(pool: LeanUpstream, peer: RawPeer, *, limit: int = PLENTY_BYTES) -> bytes:
    return (await called(pool, peer.url, limit=limit))[1]


def scheduled() -> list[asyncio.TimerHandle]:
    handles: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return handles


async def test_a_connection_is_replaced_after_so_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_REUSE", 3)
    async with pooled(answering(HELLO)) as (pool, peer):
        for _ in range(7):
            await called(pool, peer.url)

        assert len(peer.wires) == 3


@on_both_loops
async def test_a_stream_is_read_as_it_comes_and_all_that_came_at_once() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        await go_on.wait()
        await wire.send(b"2\r\ncd\r\n2\r\nef\r\n0\r\n\r\n")
        await wire.client_left()

    async with pooled(script) as (pool, peer):
        answer = await pool.open(outgoing(peer.url), Sending())

        first = await answer.read_some()
        go_on.set()
        await until(lambda: pool.idle_connections == 1)

        assert [first, await answer.read_some(), await answer.read_some(), await answer.read_some()] == [
            b"ab",
            b"cdef",
            b"",
            b"",
        ]


@on_both_loops
async def test_a_tap_takes_what_comes_while_nothing_is_read_until_it_lets_something_pass() -> None:
    shown: list[bytes] = []
    reading = asyncio.Event()

    def tap(piece: bytes) -> bool:
        shown.append(piece)
        return piece != b"stop"

    def has_shown(pieces: int) -> bool:
        return len(shown) == pieces

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await reading.wait()
        for before, piece in enumerate((b"two", b"six", b"stop")):
            await until(partial(has_shown, before))
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await until(partial(has_shown, 3))
        await wire.send(b"3\r\nten\r\n0\r\n\r\n")
        await wire.client_left()

    async with pooled(script) as (pool, peer):
        answer = await pool.open(outgoing(peer.url), Sending())
        first = await answer.read_some(tap)
        reading.set()
        passed = await answer.read_some(tap)
        rest = b""
        while piece := await answer.read_some():
            rest += piece

    assert (first, passed, rest) == (b"one", b"stop", b"ten")
    assert shown == [b"two", b"six", b"stop"]


@on_both_loops
async def test_a_tap_is_not_shown_encoded_bytes_nor_what_comes_with_the_end() -> None:
    def tap(piece: bytes) -> bool:
        raise AssertionError(f"it was shown {piece!r}")

    body = gzip.compress(b"plain")
    encoded = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with pooled(in_turn(once(encoded + body), once(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend"))) as (
        pool,
        peer,
    ):
        read = [await read_with(pool, peer, tap), await read_with(pool, peer, tap)]

    assert read == [b"plain", b"end"]


async def read_with(pool: LeanUpstream, peer: RawPeer, tap: Tap) -> bytes:
    answer = await pool.open(outgoing(peer.url), Sending())
    read = b""
    while piece := await answer.read_some(tap):
        read += piece
    return read


@on_both_loops
async def test_a_reader_that_stops_reading_stops_the_provider() -> None:
    size = 8 << 20

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            await wire.send(b"x" * 65536)
        await wire.client_left()

    async with pooled(script) as (pool, peer):
        answer = await pool.open(outgoing(peer.url), Sending())
        buffered = lambda: answer.buffered  # type: ignore[attr-defined]  # noqa: E731
        await until(lambda: buffered() > HIGH_WATER_BYTES)
        seen = buffered()
        for _ in range(50):
            await asyncio.sleep(0.001)

        assert buffered() == seen <= 2 * HIGH_WATER_BYTES
        assert peer.wires[0].sent < size
        got = 0
        while chunk := await answer.read_some():
            got += len(chunk)
        assert (got, pool.idle_connections) == (size, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
        chunked(b"x" * 60, b"x" * 41),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
    ],
)
async def test_an_answer_larger_than_its_bound_is_refused_and_its_connection_closed(answer: bytes) -> None:
    async with pooled(once(answer)) as (pool, peer):
        opened = await pool.open(outgoing(peer.url), Sending())

        with pytest.raises(AnswerTooLarge):
            await opened.read(100)

        assert await body_of(pool, peer, limit=101) == b"x" * 101


async def test_an_endless_answer_is_refused_when_it_passes_its_bound() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await wire.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    async with pooled(script) as (pool, peer):
        with pytest.raises(AnswerTooLarge):
            await body_of(pool, peer, limit=1_000_000)

        await peer.has(lambda peer: peer.open == 0)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified", b"200 OK\r\nContent-Length: 0"])
async def test_an_answer_without_a_body_is_read_at_once_and_frees_its_connection(status: bytes) -> None:
    async with pooled(answering(b"HTTP/1.1 " + status + b"\r\n\r\n")) as (pool, peer):
        assert [await body_of(pool, peer), await body_of(pool, peer)] == [b"", b""]

        assert (len(peer.wires), pool.idle_connections) == (1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ],
)
@on_both_loops
async def test_an_answer_that_ends_its_connection_is_right_and_the_next_call_has_a_new_one(answer: bytes) -> None:
    async with pooled(once(answer)) as (pool, peer):
        assert [await body_of(pool, peer), await body_of(pool, peer)] == [b"hello", b"hello"]

        assert (len(peer.wires), pool.idle_connections) == (2, 0)


async def test_http_1_0_with_keep_alive_is_kept() -> None:
    async with pooled(answering(HELLO.replace(b"1.1", b"1.0").replace(b"OK", b"OK\r\nConnection: keep-alive"))) as (
        pool,
        peer,
    ):
        assert [await body_of(pool, peer), await body_of(pool, peer)] == [b"hello", b"hello"]

        assert (len(peer.wires), pool.idle_connections) == (1, 1)


async def test_trailers_and_chunk_extensions_are_no_part_of_the_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = head + b'3;a=b\r\nabc\r\n2;q="x;y"\r\nde\r\n0;last\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n'
    async with pooled(answering(answer)) as (pool, peer):
        assert [await body_of(pool, peer), await body_of(pool, peer)] == [b"abcde", b"abcde"]

        assert len(peer.wires) == 1


@on_both_loops
async def test_closing_an_answer_before_its_end_closes_its_connection_and_after_it_keeps_it() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await wire.client_left()

    async with pooled(in_turn(script, answering(HELLO))) as (pool, peer):
        answer = await pool.open(outgoing(peer.url), Sending())
        assert await answer.read_some() == b"hello"
        answer.close()
        answer.close()
        with pytest.raises(UpstreamCut):
            await answer.read_some()
        await peer.has(lambda peer: peer.open == 0)
        other = await pool.open(outgoing(peer.url), Sending())
        other.close()
        other.close()

        assert (pool.open_connections, pool.idle_connections) == (1, 1)


@on_both_loops
async def test_a_large_body_has_left_only_when_the_kernel_has_all_of_it() -> None:
    read_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await read_on.wait()
        await wire.client_left()

    async with pooled(script) as (pool, peer):
        sending = Sending()
        call = asyncio.create_task(pool.open(outgoing(peer.url, b"x" * (16 << 20)), sending))
        await peer.has(lambda peer: len(peer.wires) == 1)
        await asyncio.sleep(0.02)
        before = sending.whole
        read_on.set()
        await until(lambda: sending.whole)

        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert not before


async def test_a_small_request_has_left_while_its_answer_is_waited_for() -> None:
    async with pooled(silent) as (pool, peer):
        sending = Sending()
        call = asyncio.create_task(pool.open(outgoing(peer.url), sending))
        await peer.has(lambda peer: len(peer.requests) == 1)

        assert sending.whole
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_where_nobody_listens_nothing_is_sent(unused_tcp_port: int) -> None:
    pool = LeanUpstream(Reach(connections=1))
    sending = Sending()

    with pytest.raises(UpstreamUnreachable):
        await pool.open(outgoing(f"http://127.0.0.1:{unused_tcp_port}"), sending)

    assert (sending.whole, pool.pool.seats.taken) == (False, 0)


async def test_an_address_that_is_not_permitted_is_not_connected_to() -> None:
    asked: list[str] = []

    def permit(address: str) -> bool:
        asked.append(address)
        return False

    async with pooled(answering(HELLO), permit=permit) as (pool, peer):
        with pytest.raises(UpstreamUnreachable, match="not permitted"):
            await called(pool, peer.url)

        assert (asked, peer.wires) == (["127.0.0.1"], [])


@on_both_loops
async def test_a_name_with_several_addresses_is_reached_by_the_one_that_answers() -> None:
    async with pooled(answering(HELLO)) as (pool, peer):
        assert await called(pool, f"http://localhost:{peer.port}") == (200, b"hello")


async def test_a_closed_pool_refuses_who_waits_and_who_comes() -> None:
    async with pooled(silent, connections=1) as (pool, peer):
        calls = [asyncio.create_task(called(pool, peer.url)) for _ in range(3)]
        await peer.has(lambda peer: len(peer.requests) == 1)

        await pool.close()

        with pytest.raises(UpstreamUnreachable, match="closed"):
            await called(pool, peer.url)
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in ended] == [UpstreamCut, UpstreamUnreachable, UpstreamUnreachable]


async def test_a_request_through_a_proxy_is_carried_by_aiohttp() -> None:
    async with pooled(answering(HELLO)) as (pool, peer):
        answer = await pool.open(Outgoing("http://provider.test/v1", {}, b"{}", peer.url), Sending())

        assert await answer.read(5) == b"hello"
        answer.close()
        assert peer.requests[0].startswith(b"POST http://provider.test/v1 HTTP/1.1\r\n")
        assert pool.open_connections == 0


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:])),
        ("deflate", zlib.compress),
        ("DEFLATE", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
    ],
)
async def test_codings_that_were_not_asked_for_are_decoded(coding: str, encode: Any) -> None:
    text = b"".join(b"%d," % number for number in range(100_000))
    encoded = encode(text)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding.encode(), len(encoded))
    async with pooled(answering(head + encoded)) as (pool, peer):
        assert await body_of(pool, peer, limit=len(text)) == text

        answer = await pool.open(outgoing(peer.url), Sending())
        pieces = []
        while piece := await answer.read_some():
            pieces.append(piece)
        assert b"".join(pieces) == text
        assert len(peer.wires) == 1


async def test_a_small_answer_that_decodes_to_a_huge_one_is_refused_at_the_bound() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with pooled(answering(head + bomb)) as (pool, peer):
        with pytest.raises(AnswerTooLarge):
            await body_of(pool, peer, limit=1 << 20)

        answer = await pool.open(outgoing(peer.url), Sending())
        assert len(await answer.read_some()) <= 64 * 1024


@pytest.mark.parametrize(
    ("coding", "encoded"),
    [
        *((b"gzip", broken) for broken in (ZIPPED[:-1], ZIPPED + b"rest", b"hello", b"\x1f")),
        *((b"deflate", broken) for broken in (DEFLATED[:-1], DEFLATED + DEFLATED, DEFLATED + b"x", b"\xff\xff")),
    ],
)
async def test_a_coding_that_breaks_is_no_answer(coding: bytes, encoded: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding, len(encoded))
    async with pooled(answering(head + encoded)) as (pool, peer):
        with pytest.raises(UpstreamCut):
            await body_of(pool, peer)


async def test_a_coding_that_cannot_be_decoded_is_refused_at_once() -> None:
    async with pooled(answering(HELLO.replace(b"OK", b"OK\r\nContent-Encoding: br"))) as (pool, peer):
        with pytest.raises(UpstreamCut, match="not asked for"):
            await pool.open(outgoing(peer.url), Sending())


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"},
        {"X": "a\nb"},
        {"X": "a\rb"},
        {"X": "a\0b"},
        {"X": "a\r\n"},
        {"X": "日"},
        {"X\r\nY": "b"},
        {"X: a\r\nY": "b"},
        {"X ": "b"},
        {"": "b"},
        {"x": "a", "X": "b"},
        {"Host": "elsewhere"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"connection": "close"},
    ],
)
async def test_a_header_that_could_say_more_than_itself_is_refused_before_anything_is_sent(
    headers: dict[str, str],
) -> None:
    async with pooled(answering(HELLO)) as (pool, peer):
        for _ in range(2):
            with pytest.raises(UpstreamUnreachable):
                await pool.open(Outgoing(peer.url, headers, b"{}"), Sending())

        assert (peer.wires, pool.pool.seats.taken) == ([], 0)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://h/a b",
            "http://h/a\r\nX: y",
            "http://h/\x7f",
            "http://h\t/",
            "http://h\xa0/",
            " http://h/",
            "http://h/\n",
        ),
        *("ftp://h/", "h/x", "", "http:///x", "http://", "http://h:99999/", "http://u:p@h/", "http://[::1/", "//h/x"),
    ],
)
async def test_a_url_that_could_say_more_than_itself_is_refused(url: str) -> None:
    pool = LeanUpstream(Reach(connections=1))

    with pytest.raises(UpstreamUnreachable):
        await pool.open(outgoing(url), Sending())


@pytest.mark.parametrize(
    ("url", "host", "port", "head"),
    [
        ("https://API.Example.com/v1", "api.example.com", 443, b" /v1 HTTP/1.1\r\nHost: API.Example.com\r\n"),
        ("http://h?a=b", "h", 80, b" /?a=b HTTP/1.1\r\nHost: h\r\n"),
        ("http://[::1]:8080/x", "::1", 8080, b" /x HTTP/1.1\r\nHost: [::1]:8080\r\n"),
        ("http://bücher.test/ü", "xn--bcher-kva.test", 80, b" /%C3%BC HTTP/1.1\r\nHost: xn--bcher-kva.test\r\n"),
    ],
)
def test_a_url_names_an_origin_and_a_path(url: str, host: str, port: int, head: bytes) -> None:
    from relay.lean.wire import place

    assert place(url) == ((url.startswith("https"), host, port), head)


async def test_origins_without_connections_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_TARGETS", 8)
    async with pooled(answering(HELLO)) as (pool, peer):
        await called(pool, peer.url)
        site = pool.pool.target(peer.url).site
        for number in range(100):
            pool.pool.target(f"http://host{number}.test/")

        assert len(pool.pool._sites) <= 9
        assert pool.pool.target(peer.url).site is site


@pytest.mark.parametrize("served", [answering(HELLO), once(b"HTTP/1.1 200 OK\r\n\r\nhello")])
async def test_a_connection_that_is_gone_leaves_no_ring(served: Script) -> None:
    gc.collect()
    gc.disable()
    try:
        async with pooled(served) as (pool, peer):
            for _ in range(3):
                with suppress(UpstreamCut):
                    await called(pool, peer.url)
        await until(lambda: not [each for each in gc.get_objects() if isinstance(each, Connection)])
    finally:
        gc.enable()
