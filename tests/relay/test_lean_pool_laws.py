import asyncio
import gzip
import re
import socket
import zlib
from dataclasses import dataclass, field
from itertools import pairwise

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDictProxy

from relay.aiohttp_pool import AiohttpUpstream
from relay.errors import UpstreamCut
from relay.lean.answer import HIGH_WATER_BYTES
from relay.lean.connection import Connection
from relay.lean.decoding import PIECE_BYTES, Decoder
from relay.lean.seats import Site
from relay.lean.wire import Origin
from relay.lean_pool import LeanUpstream
from relay.reach import Reach
from relay.upstream import Answer, Outgoing, Sending
from tests.harness.raw_peer import RawPeer, Wire

SITE = Site(Origin(tls=False, host="127.0.0.1", port=1))


@dataclass
class Owner:
    """What a connection says to its owner."""

    said: list[str] = field(default_factory=list)

    def freed(self, connection: Connection) -> None:
        self.said.append("freed")

    def vacated(self, connection: Connection) -> None:
        if "vacated" not in self.said:
            self.said.append("vacated")

    def lost(self, connection: Connection) -> None:
        pass


@dataclass(frozen=True)
class Seen:
    """What came of an answer: `body` is None when it was refused."""

    status: int
    headers: dict[str, str]
    body: bytes | None
    kept: bool


def seen(*pieces: bytes, ends: bool = False) -> Seen:
    """What a connection makes of bytes that come in these pieces; `ends`: and then it is closed in order."""
    return asyncio.run(_seen(pieces, ends))


async def _seen(pieces: tuple[bytes, ...], ends: bool) -> Seen:
    ours, theirs = socket.socketpair()
    owner = Owner()
    connection = Connection(owner, SITE)
    await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
    with theirs:
        answer = connection.ask(b"POST / HTTP/1.1\r\n\r\n", Sending())
        for piece in filter(None, pieces):
            connection.data_received(piece)
        if ends:
            connection.eof_received()
        body: bytes | None = None
        if answer.ended:
            try:
                await answer.opened()
                body = await answer.read(1 << 20)
            except UpstreamCut:
                body = None
        answer.close()
        kept = owner.said == ["freed"]
        connection.discard()
        await asyncio.sleep(0)
        return Seen(answer.status, dict(answer.headers.items()), body, kept)


CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
NAMES = st.sampled_from(["X-A", "x-b", "Content-Type", "X-Request-Id"])
VALUES = st.text("abc =;,\"'/é\t", max_size=20).map(str.strip)
ASCII = VALUES.filter(str.isascii)
"""Where others have a say: what is beyond is read by us as Latin-1, by aiohttp as UTF-8."""


@st.composite
def answers(draw: st.DrawFn, values: st.SearchStrategy[str] = VALUES) -> tuple[bytes, bytes, bool]:
    """(bytes of a well-formed answer, its body, whether it ends with the connection)."""
    status = draw(st.sampled_from([200, 201, 400, 429, 500, 529]))
    fields = draw(st.lists(st.tuples(NAMES, values), max_size=5))
    chunks = draw(CHUNKS)
    body = b"".join(chunks)
    framing = draw(st.sampled_from(["length", "chunked", "end"]))
    interims = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * draw(st.integers(0, 2))
    head = b"HTTP/1.1 %d Reason\r\n" % status + b"".join(f"{n}: {v}\r\n".encode("latin-1") for n, v in fields)
    if framing == "length":
        return interims + head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body, False
    if framing == "end":
        return interims + head + b"\r\n" + body, body, True
    framed = b"".join(b"%X;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    trailers = draw(st.sampled_from([b"", b"X-Sum: 1\r\n"]))
    return interims + head + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n" + trailers + b"\r\n", body, False


@st.composite
def pieces_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=12)))
    return [piece for start, end in pairwise([0, *cuts, len(data)]) if (piece := data[start:end])]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_an_answer_is_the_same_however_it_is_cut_into_pieces(data: st.DataObject) -> None:
    answer, body, ends = data.draw(answers())
    pieces = data.draw(pieces_of(answer))

    whole = seen(answer, ends=ends)

    assert (whole.body, whole.kept) == (body, not ends)
    assert seen(*pieces, ends=ends) == whole


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_an_answer_that_stops_early_is_no_answer(data: st.DataObject) -> None:
    answer, _, _ = data.draw(answers().filter(lambda made: not made[2]))
    size = data.draw(st.integers(0, len(answer) - 1))

    assert seen(answer[:size], ends=True).body is None


def by_h11(data: bytes) -> tuple[int, bytes] | None:
    """(status, body) of the first answer in these bytes, or None when there is none.

    What only h11 refuses is taken out before: we read no reason phrase, and pass over empty lines behind an interim answer.
    """
    data = re.sub(rb"(HTTP/1\.[01] 1\d\d[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)[\r\n]+", rb"\1", data)
    data = re.sub(rb"(HTTP/1\.[01] \d{3} )[^\r\n]*", rb"\1", data)
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "h"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    status, body = 0, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    answer = bytearray(draw(answers())[0])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(answer)))
        removed = draw(st.integers(0, 3))
        answer[at : at + removed] = draw(st.sampled_from(ODD) | st.binary(max_size=2))
    return bytes(answer)


ODD = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"0",
    b"9",
    b"f",
    b",",
    b"\0",
    b"\xff",
    b"chunked",
    b"Content-Length: 3\r\n",
]


@settings(deadline=None, max_examples=600)
@given(mutated())
def test_what_is_taken_for_an_answer_is_read_by_h11_in_the_same_way(data: bytes) -> None:
    found = seen(data, ends=True)

    if found.body is not None:
        assert by_h11(data) == (found.status, found.body)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=3000), st.sampled_from(["gzip", "deflate", "raw"]), st.integers(1, 700), st.integers(1, 9))
def test_what_was_encoded_comes_out_decoded_however_it_is_fed(text: bytes, coding: str, size: int, times: int) -> None:
    text *= times * 20
    encoded = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": lambda data: zlib.compress(data)[2:-4]}[coding](
        text
    )
    decoder = Decoder("gzip" if coding == "gzip" else "deflate")
    found = []

    for at in range(0, len(encoded), size):
        decoder.feed(encoded[at : at + size])
        while piece := decoder.take():
            assert len(piece) <= PIECE_BYTES
            found.append(piece)

    assert (b"".join(found), decoder.is_whole) == (text, True)


async def test_a_connection_counts_every_byte_that_the_kernel_has_not_taken() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(Owner(), SITE)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
    with theirs:
        assert transport.get_write_buffer_limits() == (0, 1)
        connection.discard()


async def test_a_connection_that_was_paused_reads_on_when_its_answer_is_whole() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(Owner(), SITE)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
    with theirs:
        answer = connection.ask(b"POST / HTTP/1.1\r\n\r\n", Sending())
        size = 2 * HIGH_WATER_BYTES
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        connection.data_received(b"x" * (size - 1))
        paused = not transport.is_reading()
        connection.data_received(b"x")

        assert (paused, transport.is_reading(), len(await answer.read_some())) == (True, True, size)
        connection.discard()


async def both_ways(answer: bytes, ends: bool) -> list[tuple[int, dict[str, str], bytes]]:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer)
        if not ends:
            await wire.client_left()

    found = []
    async with RawPeer(script) as peer:
        for upstream in (LeanUpstream(Reach(connections=1)), AiohttpUpstream(Reach(connections=1))):
            got: Answer = await upstream.open(Outgoing(peer.url, {}, b"{}"), Sending())
            headers = {name.lower(): ", ".join(values_of(got, name)) for name in got.headers}
            found.append((got.status, headers, await got.read(1 << 20)))
            got.close()
            await upstream.close()
    return found


def values_of(answer: Answer, name: str) -> list[str]:
    headers = answer.headers
    return headers.getall(name) if isinstance(headers, CIMultiDictProxy) else [headers[name]]


@settings(deadline=None, max_examples=60)
@given(answers(ASCII))
def test_a_well_formed_answer_is_read_as_aiohttp_reads_it(made: tuple[bytes, bytes, bool]) -> None:
    lean, aiohttp = asyncio.run(both_ways(made[0], made[2]))

    assert lean == aiohttp
    assert lean[2] == made[1]
