import asyncio
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.errors import UpstreamCut, UpstreamUnreachable
from relay.lean import connection as connections
from relay.lean.connection import MAX_HEADERS, MAX_INTERIMS, Connection
from relay.lean.dial import Dialer
from relay.lean.pool import Pool
from relay.lean.seats import Seats
from relay.lean.wire import Origin
from relay.lean_pool import LeanUpstream
from relay.reach import Reach
from relay.upstream import MAX_HEADER_BYTES, Sending
from tests.harness.certificates import Authority
from tests.harness.lean_calls import HELLO, called, chunked, outgoing, pooled
from tests.harness.raw_peer import RawPeer, Script, Wire, answering, in_turn, on_both_loops, once, silent, until

OK = b"HTTP/1.1 200 OK\r\n"
UNTIL_CLOSE = OK + b"Content-Type: text/plain\r\n\r\nhello"
CHUNKED = chunked(b"he", b"llo")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def cut_after(data: bytes, end: Callable[[Wire], object]) -> Script:
    """Answer the first request with these bytes, wait until they were read, and end."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(data)
        await asyncio.sleep(0.002)
        end(wire)

    return script


@pytest.mark.parametrize("ending", [Wire.drop, Wire.reset], ids=["closed", "reset"])
@pytest.mark.parametrize("answer", [HELLO, CHUNKED], ids=["length", "chunked"])
@on_both_loops
async def test_an_answer_cut_at_any_byte_is_no_answer(answer: bytes, ending: Callable[[Wire], object]) -> None:
    for size in range(len(answer)):
        async with pooled(cut_after(answer[:size], ending)) as (pool, peer):
            with pytest.raises((UpstreamCut, UpstreamUnreachable)):
                await called(pool, peer.url)

            assert len(peer.requests) == 1


@on_both_loops
async def test_an_answer_that_ends_with_its_connection_is_whole_after_an_orderly_end_only() -> None:
    head = UNTIL_CLOSE.index(b"\r\n\r\n") + 4
    for size in range(len(UNTIL_CLOSE) + 1):
        async with pooled(cut_after(UNTIL_CLOSE[:size], Wire.drop)) as (pool, peer):
            if size < head:
                with pytest.raises(UpstreamCut):
                    await called(pool, peer.url)
            else:
                assert await called(pool, peer.url) == (200, UNTIL_CLOSE[head:size])
        async with pooled(cut_after(UNTIL_CLOSE[:size], Wire.reset)) as (pool, peer):
            with pytest.raises(UpstreamCut):
                await called(pool, peer.url)


@pytest.mark.parametrize("answer", [HELLO, CHUNKED, UNTIL_CLOSE], ids=["length", "chunked", "until close"])
@on_both_loops
async def test_an_answer_that_comes_byte_by_byte_is_right(answer: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.slowly(answer)

    async with pooled(script) as (pool, peer):
        assert await called(pool, peer.url) == (200, b"hello")


@on_both_loops
async def test_what_came_before_a_cut_is_read_before_the_cut_is_told() -> None:
    async with pooled(cut_after(OK + b"Content-Length: 10\r\n\r\nhello", Wire.drop)) as (pool, peer):
        answer = await pool.open(outgoing(peer.url), Sending())
        await until(lambda: pool.open_connections == 0)

        assert await answer.read_some() == b"hello"
        for _ in range(2):
            with pytest.raises(UpstreamCut):
                await answer.read_some()


@pytest.mark.parametrize("status", [100, 102, 103])
async def test_interim_answers_are_skipped_up_to_a_bound(status: int) -> None:
    interim = b"HTTP/1.1 %d Wait\r\nLink: </x>\r\n\r\n" % status
    async with pooled(in_turn(*map(once, (interim * MAX_INTERIMS + HELLO, interim * (MAX_INTERIMS + 1) + HELLO)))) as (
        pool,
        peer,
    ):
        assert await called(pool, peer.url) == (200, b"hello")

        with pytest.raises(UpstreamCut, match="interim"):
            await called(pool, peer.url)


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"HTTP/1.1 099 No\r\n\r\n"]
)
async def test_an_upgrade_that_nobody_asked_for_is_no_answer(line: bytes) -> None:
    async with pooled(once(line + HELLO)) as (pool, peer):
        with pytest.raises(UpstreamCut):
            await called(pool, peer.url)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 6\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        OK + b"Content-Length: +5\r\n\r\nhello",
        OK + b"Content-Length: 0x5\r\n\r\nhello",
        OK + b"Content-Length: \r\n\r\nhello",
        OK + b"Content-Length: 99999999999999999999\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        OK + b"Content-Length : 5\r\n\r\nhello",
        OK + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"X: a\0\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"no colon\r\nContent-Length: 5\r\n\r\nhello",
        HELLO.replace(b"\r\n", b"\n"),
        HELLO.replace(b"HTTP/1.1", b"HTTP/3.7"),
        HELLO.replace(b"HTTP/1.1 200 OK", b"220 smtp.test ESMTP"),
        HELLO.replace(b"200", b"20"),
        HELLO.replace(b"200", b"2000"),
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
)
@on_both_loops
async def test_an_answer_that_can_be_read_in_two_ways_is_no_answer(answer: bytes) -> None:
    async with pooled(once(answer)) as (pool, peer):
        with pytest.raises(UpstreamCut):
            await called(pool, peer.url)

        assert len(peer.requests) == 1


def endless(start: bytes, more: bytes) -> Script:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(start)
        while True:
            await wire.send(more)

    return script


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (OK, b"X-Many: y\r\n" * 50),
        (OK + b"X-Long: ", b"y" * 1000),
        (OK, b"x" * 1000),
        (b"HTTP/1.1 200 ", b"y" * 1000),
        (b"", b"\r\n" * 500),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"y" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 100),
    ],
)
async def test_what_never_comes_to_a_body_is_cut_off_within_a_bound(start: bytes, more: bytes) -> None:
    async with pooled(endless(start, more)) as (pool, peer):
        with pytest.raises(UpstreamCut):
            async with asyncio.timeout(5):
                await called(pool, peer.url)

        await peer.has(lambda peer: peer.open == 0)


@pytest.mark.parametrize(
    ("headers", "fits"),
    [
        (b"X: y\r\n" * (MAX_HEADERS - 1), True),
        (b"X: y\r\n" * MAX_HEADERS, False),
        (b"X: " + b"y" * (MAX_HEADER_BYTES - 16) + b"\r\n", True),
        (b"X: " + b"y" * (MAX_HEADER_BYTES - 15) + b"\r\n", False),
    ],
)
@pytest.mark.parametrize("piece", [1 << 20, 999])
async def test_a_head_has_bounds_however_it_comes(headers: bytes, fits: bool, piece: int) -> None:
    answer = OK + headers + b"Content-Length: 5\r\n\r\nhello"

    async def script(wire: Wire) -> None:
        await wire.request()
        for at in range(0, len(answer), piece):
            await wire.send(answer[at : at + piece])
            await asyncio.sleep(0.0005)

    async with pooled(script) as (pool, peer):
        if fits:
            assert await called(pool, peer.url) == (200, b"hello")
        else:
            with pytest.raises(UpstreamCut):
                await called(pool, peer.url)


@pytest.mark.parametrize("extra", [b"x", b"H", b"HTTP/1.1 2", HELLO, b"\0" * 100_000, b"HTTP/1.1 100 C\r\n\r\n"])
@pytest.mark.parametrize("answer", [HELLO, CHUNKED, OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello"])
@on_both_loops
async def test_bytes_behind_an_answer_are_nobody_s_and_end_its_connection(answer: bytes, extra: bytes) -> None:
    async with pooled(in_turn(once(answer + extra), answering(HELLO.replace(b"hello", b"mine!")))) as (pool, peer):
        assert await called(pool, peer.url) == (200, b"hello")

        assert pool.idle_connections == 0
        assert await called(pool, peer.url) == (200, b"mine!")
        assert len(peer.wires) == 2


@pytest.mark.parametrize("extra", [HELLO, b"\r\n", b"garbage"])
@on_both_loops
async def test_bytes_that_come_while_nothing_was_asked_end_the_connection(extra: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HELLO)
        await asyncio.sleep(0.005)
        await wire.send(extra)
        await wire.client_left()

    async with pooled(in_turn(script, answering(HELLO.replace(b"hello", b"mine!")))) as (pool, peer):
        assert await called(pool, peer.url) == (200, b"hello")
        await until(lambda: pool.open_connections == 0)

        assert await called(pool, peer.url) == (200, b"mine!")


class Blocking:
    """A peer in a thread of its own: it can act while the test's loop stands still."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.go, self.gone = threading.Event(), threading.Event()
        self.requests: list[bytes] = []
        self._act = act
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._server.accept()[0] as wire:
            self.requests.append(wire.recv(65536))
            wire.sendall(HELLO)
            self.go.wait(10)
            self._act(wire)
            self.gone.set()
            self.requests.append(_last_words(wire))
        with self._server.accept()[0] as wire:
            self.requests.append(wire.recv(65536))
            wire.sendall(HELLO.replace(b"hello", b"mine!"))
            wire.recv(65536)

    def close(self) -> None:
        self._thread.join(10)
        self._server.close()


def _last_words(wire: socket.socket) -> bytes:
    try:
        return wire.recv(65536)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "act",
    [lambda wire: wire.sendall(HELLO), lambda wire: wire.sendall(b"x"), lambda wire: wire.shutdown(socket.SHUT_WR)],
    ids=["a second answer", "garbage", "an end"],
)
@on_both_loops
async def test_a_connection_is_not_taken_when_something_waits_in_it(act: Callable[[socket.socket], None]) -> None:
    pool, peer = LeanUpstream(Reach(connections=4)), Blocking(act)
    assert await called(pool, peer.url) == (200, b"hello")
    peer.go.set()
    assert peer.gone.wait(10)

    assert await called(pool, peer.url) == (200, b"mine!")

    assert [bool(request) for request in peer.requests] == [True, False, True]
    await pool.close()
    peer.close()


async def dies_as_it_is_taken(wire: Wire) -> None:
    await wire.request()
    await wire.send(HELLO)
    await wire.request()


async def resets_as_it_is_taken(wire: Wire) -> None:
    await dies_as_it_is_taken(wire)
    wire.reset()


@pytest.mark.parametrize("dying", [dies_as_it_is_taken, resets_as_it_is_taken], ids=["closed", "reset"])
@on_both_loops
async def test_a_kept_connection_that_dies_as_it_is_taken_is_replaced_by_a_fresh_one(dying: Script) -> None:
    async with pooled(in_turn(dying, answering(HELLO))) as (pool, peer):
        bodies = [(await called(pool, peer.url, b"%d" % number))[1] for number in range(3)]

        assert bodies == [b"hello"] * 3
        assert [request[-1:] for request in peer.requests] == [b"0", b"1", b"1", b"2"]
        assert len(peer.wires) == 2


async def test_a_request_is_repeated_once_only_and_never_on_another_kept_connection() -> None:
    met = asyncio.Barrier(3)

    async def kept(wire: Wire) -> None:
        await wire.request()
        await met.wait()
        await wire.send(HELLO)
        await wire.request()

    async def closes_at_once(wire: Wire) -> None:
        await wire.request()

    async with pooled(in_turn(kept, kept, kept, closes_at_once)) as (pool, peer):
        await asyncio.gather(*(called(pool, peer.url) for _ in range(3)))

        with pytest.raises(UpstreamCut):
            await called(pool, peer.url, b"again")

        assert [wire.number for wire in peer.wires] == [0, 1, 2, 3]
        assert sum(request.endswith(b"again") for request in peer.requests) == 2


@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n"])
async def test_a_request_that_was_answered_by_a_single_byte_is_not_repeated(said: bytes) -> None:
    async def script(wire: Wire) -> None:
        await dies_as_it_is_taken(wire)
        await wire.send(said)

    async with pooled(in_turn(script, answering(HELLO))) as (pool, peer):
        await called(pool, peer.url)

        with pytest.raises(UpstreamCut):
            await called(pool, peer.url)

        assert (len(peer.requests), len(peer.wires)) == (2, 1)


async def test_a_request_on_a_fresh_connection_is_not_repeated() -> None:
    async with pooled(in_turn(once(b""), answering(HELLO))) as (pool, peer):
        sending = Sending()

        with pytest.raises(UpstreamCut):
            await pool.open(outgoing(peer.url), sending)

        assert (len(peer.requests), len(peer.wires), sending.whole) == (1, 1, True)


async def test_a_request_that_a_provider_may_have_worked_on_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "DIES_AT_ONCE_S", 0.0)
    async with pooled(in_turn(dies_as_it_is_taken, answering(HELLO))) as (pool, peer):
        await called(pool, peer.url)

        with pytest.raises(UpstreamCut):
            await called(pool, peer.url)

        assert len(peer.requests) == 2


async def test_a_repeated_request_goes_before_all_who_wait() -> None:
    order: list[bytes] = []

    async def later(wire: Wire) -> None:
        while True:
            order.append((await wire.request())[-1:])
            await wire.send(HELLO)

    async with pooled(in_turn(dies_as_it_is_taken, later), connections=1) as (pool, peer):
        await called(pool, peer.url, b"x")

        await asyncio.gather(*(called(pool, peer.url, body) for body in (b"a", b"b", b"c", b"d")))

        # The seat of the dead connection went to the first who waited, before the request could be repeated.
        assert order == [b"b", b"a", b"c", b"d"]
        assert pool.open_connections == 1


async def test_a_repeated_request_is_not_given_another_kept_connection() -> None:
    taken: dict[bytes, tuple[int, int]] = {}
    go_on = {b"b": asyncio.Event(), b"c": asyncio.Event()}

    async def script(wire: Wire) -> None:
        for turn in range(3):
            body = (await wire.request())[-1:]
            if body == b"a" and turn == 1:
                return
            taken[body] = (wire.number, turn)
            if body in go_on:
                await go_on[body].wait()
            await wire.send(HELLO)

    async with pooled(script, connections=2) as (pool, peer):
        await asyncio.gather(called(pool, peer.url, b"x"), called(pool, peer.url, b"y"))
        calls = [asyncio.create_task(called(pool, peer.url, body)) for body in (b"a", b"b", b"c")]
        await until(lambda: {b"b", b"c"} <= set(taken) and pool.pool.seats.waiting == 1)
        go_on[b"b"].set()
        assert await calls[0] == (200, b"hello")
        go_on[b"c"].set()
        await asyncio.gather(*calls)

        assert [turn for _, turn in (taken[b"b"], taken[b"c"], taken[b"a"])] == [1, 0, 0]
        assert len(peer.wires) == 4


async def test_a_request_that_cannot_be_repeated_has_not_left() -> None:
    async with pooled(dies_as_it_is_taken) as (pool, peer):
        await called(pool, peer.url)
        peer.stop_listening()
        sending = Sending()

        with pytest.raises(UpstreamUnreachable):
            await pool.open(outgoing(peer.url), sending)

        assert not sending.whole


@on_both_loops
async def test_a_connection_that_ends_as_it_is_made_is_no_connection() -> None:
    class Slow(Dialer):
        """What comes between a connection and the task that asked for it."""

        async def dial(self, origin: Origin, connection: Connection) -> None:
            await super().dial(origin, connection)
            await until(lambda: not connection.is_open)

    async def script(wire: Wire) -> None:
        wire.reset()

    pool = Pool(Slow(), Seats(1, 1))
    async with RawPeer(script) as peer:
        for _ in range(2):
            with pytest.raises(UpstreamUnreachable, match="as it was made"):
                await pool.exchange(pool.target(peer.url).site, b"", Sending())

    assert (pool.open_connections, pool.seats.taken) == (0, 0)


@on_both_loops
async def test_an_answer_before_the_request_was_read_is_right_and_its_connection_is_not_kept() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(HELLO.replace(b"200 OK", b"413 Too Large"))
        await wire.client_left()

    async with pooled(script) as (pool, peer):
        assert await called(pool, peer.url, b"x" * (16 << 20)) == (413, b"hello")

        assert pool.idle_connections == 0
        await until(lambda: pool.open_connections == 0)


async def careless(pool: LeanUpstream, url: str, streamed: bool) -> bytes:
    """Who reads an answer and does not close it."""
    answer = await pool.open(outgoing(url), Sending())
    if not streamed:
        return await answer.read(100)
    pieces = []
    while piece := await answer.read_some():
        pieces.append(piece)
    return b"".join(pieces)


async def cancelled_at_every_step(script: Script, *, streamed: bool = False, tls: Authority | None = None) -> None:
    """Cancel a call after 0, 1, 2 ... turns of the loop, until one is through before it is cancelled."""
    options = {} if tls is None else {"tls": tls.vouches_for("localhost"), "extra_roots": tls.roots}
    async with pooled(script, **options) as (pool, peer):
        steps = 0
        through = False
        while not through:
            task = asyncio.create_task(careless(pool, peer.url, streamed))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            (ended,) = await asyncio.gather(task, return_exceptions=True)
            through = ended == b"hello"
            await until(lambda: pool.open_connections == pool.idle_connections == pool.pool.seats.taken)
            steps += 1
            assert steps < 20_000, "the call never came to its end"
        await peer.has(lambda peer: peer.open == pool.idle_connections)


@pytest.mark.parametrize("answer", [HELLO, CHUNKED, UNTIL_CLOSE], ids=["length", "chunked", "until close"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@on_both_loops
async def test_a_call_cancelled_at_any_step_leaves_no_connection_behind(answer: bytes, streamed: bool) -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            for at in range(0, len(answer), 20):
                await wire.send(answer[at : at + 20])
                await asyncio.sleep(0)
            if answer is UNTIL_CLOSE:
                return

    await cancelled_at_every_step(script, streamed=streamed)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@on_both_loops
async def test_who_stops_waiting_for_a_body_closes_its_connection(streamed: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED[:-9])
        await wire.client_left()

    async with pooled(script) as (pool, peer):
        reading = asyncio.create_task(careless(pool, peer.url, streamed))
        await peer.has(lambda peer: bool(peer.wires and peer.wires[0].sent))
        await asyncio.sleep(0.005)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

        assert pool.pool.seats.taken == 0
        await peer.has(lambda peer: peer.open == 0)


@on_both_loops
async def test_a_call_over_tls_cancelled_at_any_step_leaves_no_connection_behind(authority: Authority) -> None:
    await cancelled_at_every_step(answering(HELLO), tls=authority)


@on_both_loops
async def test_a_waiter_cancelled_as_it_is_served_hands_on_what_it_got() -> None:
    async with pooled(answering(HELLO), connections=1) as (pool, peer):
        for steps in range(40):
            calls = [asyncio.create_task(called(pool, peer.url)) for _ in range(6)]
            for _ in range(steps):
                await asyncio.sleep(0)
            for call in calls[1:4]:
                call.cancel()

            ended = await asyncio.gather(*calls, return_exceptions=True)

            assert [ended[0], *ended[4:]] == [(200, b"hello")] * 3


def fickle(chance: random.Random) -> Script:
    """Echo the body, by chance late, in pieces, cut off, reset, or with a second answer behind it."""

    async def script(wire: Wire) -> None:
        while True:
            body = (await wire.request()).partition(b"\r\n\r\n")[2]
            whole = OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            answer = chance.choice([whole, chunked(body[:3], body[3:])])
            fate = chance.random()
            if fate < 0.2:
                await wire.send(answer[: chance.randrange(len(answer))])
                return chance.choice([wire.reset, wire.drop])()
            await wire.send(answer[:40])
            if fate < 0.6:
                await asyncio.sleep(chance.random() * 0.003)
            await wire.send(answer[40:] + (HELLO if fate < 0.3 else b""))

    return script


@pytest.mark.parametrize("seed", range(4))
@on_both_loops
async def test_among_providers_that_break_and_clients_that_leave_every_answer_is_right_and_nothing_leaks(
    seed: int,
) -> None:
    chance = random.Random(seed)
    async with pooled(fickle(chance), connections=5) as (pool, peer):
        asked = [b"%04d" % number * 3 for number in range(300)]
        calls = [asyncio.create_task(called(pool, peer.url, body)) for body in asked]
        for call in chance.sample(calls, 100):
            asyncio.get_running_loop().call_later(chance.random() * 0.3, call.cancel)

        ended = await asyncio.gather(*calls, return_exceptions=True)

        for body, end in zip(asked, ended, strict=True):
            assert end == (200, body) or isinstance(end, UpstreamCut | asyncio.CancelledError), (body, end)
        assert sum(end == (200, body) for body, end in zip(asked, ended, strict=True)) > 50
        assert pool.open_connections <= 5


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@on_both_loops
async def test_a_connection_that_is_never_made_is_given_up_without_a_trace() -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    pool = LeanUpstream(Reach(connections=2))
    before = open_files()

    calls = [asyncio.create_task(called(pool, f"http://127.0.0.1:{full.getsockname()[1]}")) for _ in range(3)]
    await until(lambda: open_files() >= before + 2)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    await until(lambda: open_files() == before)
    assert (pool.pool.seats.taken, pool.pool.seats.waiting, pool.open_connections) == (0, 0, 0)
    for sock in (full, *fillers):
        sock.close()


@on_both_loops
async def test_a_server_that_an_extra_root_vouches_for_is_trusted(authority: Authority) -> None:
    tls = authority.vouches_for("localhost")
    seen: list[tuple[str | None, str | None]] = []

    def names(sock: object, name: str | None, context: object) -> None:
        seen.append((name, None))

    tls.sni_callback = names
    async with pooled(answering(HELLO), tls=tls, extra_roots=authority.roots) as (pool, peer):
        assert [await called(pool, peer.url) for _ in range(3)] == [(200, b"hello")] * 3

        assert len(peer.wires) == 1
        assert seen == [("localhost", None)]
        assert peer.wires[0].tls_protocol == "http/1.1"


@on_both_loops
async def test_a_server_that_nobody_vouches_for_is_not_told_anything(authority: Authority) -> None:
    async with pooled(answering(HELLO), tls=authority.vouches_for("localhost")) as (pool, peer):
        with pytest.raises(UpstreamUnreachable):
            await called(pool, peer.url)

        assert peer.requests == []


@on_both_loops
async def test_a_server_with_another_name_is_not_told_anything(authority: Authority) -> None:
    async with pooled(answering(HELLO), tls=authority.vouches_for("elsewhere.test"), extra_roots=authority.roots) as (
        pool,
        peer,
    ):
        with pytest.raises(UpstreamUnreachable):
            await called(pool, peer.url)

        assert peer.requests == []


@pytest.mark.parametrize("answer", [HELLO + b"x", UNTIL_CLOSE, OK + b"Content-Length: 6\r\n\r\nhello"])
@on_both_loops
async def test_under_tls_an_end_without_a_goodbye_ends_no_answer(authority: Authority, answer: bytes) -> None:
    whole = answer.startswith(HELLO)
    async with pooled(
        cut_after(answer, Wire.drop), tls=authority.vouches_for("localhost"), extra_roots=authority.roots
    ) as (pool, peer):
        if whole:
            assert await called(pool, peer.url) == (200, b"hello")
        else:
            with pytest.raises(UpstreamCut):
                await called(pool, peer.url)


@on_both_loops
async def test_under_tls_an_answer_ends_with_a_goodbye(authority: Authority) -> None:
    async with pooled(once(UNTIL_CLOSE), tls=authority.vouches_for("localhost"), extra_roots=authority.roots) as (
        pool,
        peer,
    ):
        assert await called(pool, peer.url) == (200, b"hello")


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03\x00\x7a\x02\x00", b"HTTP/1.1 400 No TLS here\r\n\r\n"])
@on_both_loops
async def test_half_a_tls_record_is_no_connection(said: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(said)
        await asyncio.sleep(0.002)

    async with pooled(script) as (pool, peer):
        with pytest.raises(UpstreamUnreachable):
            await called(pool, f"https://localhost:{peer.port}")


@on_both_loops
async def test_a_tls_handshake_that_never_comes_is_given_up_without_a_trace() -> None:
    async with pooled(silent) as (pool, peer):
        before = open_files()
        call = asyncio.create_task(called(pool, f"https://localhost:{peer.port}"))
        await peer.has(lambda peer: len(peer.wires) == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

        await peer.has(lambda peer: peer.open == 0)
        await until(lambda: open_files() <= before)
        assert pool.pool.seats.taken == 0


@on_both_loops
async def test_a_tls_record_broken_in_its_middle_is_no_answer(authority: Authority) -> None:
    """A peer between the two cuts the provider's second record in half."""
    async with pooled(answering(HELLO), tls=authority.vouches_for("localhost"), extra_roots=authority.roots) as (
        pool,
        peer,
    ):

        async def between(wire: Wire) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
            forward = asyncio.create_task(wire.copy_to(writer))
            try:
                while len(data := await reader.read(65536)) and not peer.requests:
                    await wire.send(data)
                await wire.send(data[: len(data) // 2])
                await asyncio.sleep(0.002)
            finally:
                forward.cancel()
                writer.transport.abort()

        async with RawPeer(between) as middle:
            with pytest.raises(UpstreamCut):
                await called(pool, f"https://localhost:{middle.port}")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("stated", [True, False], ids=["length", "until close"])
@on_both_loops
async def test_a_slow_reader_gets_all_that_was_sent_before_the_end(
    authority: Authority, tls: bool, stated: bool
) -> None:
    body = random.Random(1).randbytes(4 << 20)
    head = OK + (b"Content-Length: %d\r\n" % len(body) if stated else b"") + b"\r\n"
    options = {"tls": authority.vouches_for("localhost"), "extra_roots": authority.roots} if tls else {}
    async with pooled(once(head + body), **options) as (pool, peer):
        answer = await pool.open(outgoing(peer.url), Sending())
        got = bytearray()

        while chunk := await answer.read_some():
            got += chunk
            await asyncio.sleep(0.002)

        assert got == body
