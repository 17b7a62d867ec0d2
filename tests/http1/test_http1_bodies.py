"""Request bodies: where they end, whatever the reads look like, beside two other decoders of chunks."""

from __future__ import annotations

from collections.abc import Sequence

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.http1.body import Body, Chunked, Counted
from api.http1.errors import Refused
from api.http1.limits import Limits
from tests.http1.wired import cut

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def decoded(body: Body, reads: Sequence[bytes]) -> tuple[bytes, bytes | None]:
    """The body out of these reads, and what followed it; None when it did not end."""
    taken = b""
    for number, read in enumerate(reads):
        piece, rest = body.feed(read)
        taken += piece
        if rest is not None:
            return taken, rest + b"".join(reads[number + 1 :])
    return taken, None


def outcome(data: bytes, places: Sequence[int] = ()) -> tuple[bytes, bytes | None] | str:
    """What our decoder makes of a chunked body: the body and the rest, or a refusal's reason."""
    try:
        return decoded(Chunked(Limits()), cut(data, places))
    except Refused as refused:
        return refused.reason


@given(body=st.binary(min_size=1), rest=st.binary(max_size=20), places=st.lists(st.integers(0, 300), max_size=4))
def test_a_counted_body_ends_where_its_count_ends(body: bytes, rest: bytes, places: list[int]) -> None:
    found = decoded(Counted(len(body)), cut(body + rest, places))

    assert found == (body, rest)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    rest=st.binary(max_size=20),
    places=st.lists(st.integers(0, 400), max_size=6),
)
def test_a_chunked_body_is_the_same_however_it_is_cut(chunks: list[bytes], rest: bytes, places: list[int]) -> None:
    framed = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"

    found = outcome(framed + rest, places)

    assert found == (b"".join(chunks), rest)


def test_a_chunked_body_can_come_byte_by_byte() -> None:
    framed = b"5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET"

    found = outcome(framed, range(len(framed)))

    assert found == (b"hello world", b"GET")


BAD = {
    "no size": b"\r\nhello",
    "a size that is no number": b"five\r\nhello",
    "a size with a sign": b"+5\r\nhello\r\n",
    "a negative size": b"-1\r\n",
    "a size with a prefix": b"0x5\r\nhello\r\n",
    "a size with a space before it": b" 5\r\nhello\r\n",
    "a size with a space after it": b"5 \r\nhello\r\n",
    "a size with an underscore": b"1_0\r\n",
    "a size that overflows 64 bits": b"10000000000000005\r\nhello\r\n",
    "a size with many zeros": b"0000000000000005\r\nhello\r\n",
    "a size ended by a bare LF": b"5\nhello\r\n0\r\n\r\n",
    "a size ended by a bare CR": b"5\rhello\r\n0\r\n\r\n",
    "an extension with a bare LF": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "an extension with a bare CR": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "an extension with NUL": b"5;\x00\r\nhello\r\n0\r\n\r\n",
    "a space before an extension": b"5 ;a\r\nhello\r\n0\r\n\r\n",
    "an endless extension": b"5;" + b"a" * 600,
    "a chunk longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "a chunk without its line end": b"5\r\nhello0\r\n\r\n",
    "a chunk ended by LF alone": b"5\r\nhello\n0\r\n\r\n",
    "a chunk ended by CR CR": b"5\r\nhello\r\r0\r\n\r\n",
    "a last chunk ended by LF alone": b"0\n\n",
    "a trailer that is folded": b"0\r\nA: b\r\n c\r\n\r\n",
    "a trailer without a colon": b"0\r\nA\r\n\r\n",
    "a trailer with a space before its colon": b"0\r\nA : b\r\n\r\n",
    "a trailer with NUL": b"0\r\nA: \x00\r\n\r\n",
    "a trailer with a bare LF": b"0\r\nA: b\nC: d\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("step", [1, 1000])
def test_a_chunked_body_is_refused_with(name: str, step: int) -> None:
    found = outcome(BAD[name], range(0, 1000, step))

    assert isinstance(found, str)


def test_trailers_are_bounded_like_a_head() -> None:
    many = Chunked(Limits(headers=2))
    large = Chunked(Limits(head_bytes=50))

    with pytest.raises(Refused) as too_many:
        many.feed(b"0\r\n" + b"A: b\r\n" * 3)
    with pytest.raises(Refused) as too_large:
        large.feed(b"0\r\n" + b"A: 1234567890123456\r\n" * 3)

    assert (too_many.value.status, too_large.value.status) == (431, 431)


def test_a_body_that_is_mostly_extensions_is_refused() -> None:
    body = Chunked(Limits())

    with pytest.raises(Refused, match="mostly framing"):
        body.feed((b"1;" + b"a" * 400 + b"\r\nx\r\n") * 60)


def h11_outcome(data: bytes) -> tuple[bytes, bytes | None] | None:
    """What h11 makes of it: None when it refuses."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    reader.receive_data(CHUNKED_HEAD + data)
    body = b""
    try:
        while (event := reader.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body, reader.trailing_data[0]
    except h11.RemoteProtocolError:
        return None
    return body, None


def llhttp_takes(data: bytes) -> bool:
    """Whether llhttp, with every leniency off, takes it as a whole body and nothing after it."""
    ended: list[bool] = []

    class Ends:
        def on_message_complete(self) -> None:
            ended.append(True)

    try:
        httptools.HttpRequestParser(Ends()).feed_data(CHUNKED_HEAD + data)
    except httptools.HttpParserError:
        return False
    return bool(ended)


SINGLE = [
    b"0",
    b"1",
    b"5",
    b"a",
    b"A",
    b"f",
    b"10",
    b"\r\n",
    b"\r",
    b"\n",
    b";",
    b"=",
    b" ",
    b"\t",
    b"x",
    b"T: v",
    b":",
    b'"',
]
WHOLE = [b"0\r\n\r\n", b"5\r\nhello\r\n", b"3;e=1\r\nabc\r\n", b"hello", b"\x00", b"\xff"]
SCRAPS = st.sampled_from(SINGLE + WHOLE)


@given(data=st.lists(SCRAPS, max_size=12).map(b"".join), places=st.lists(st.integers(0, 60), max_size=4))
@example(data=b"5\r\nhello\r\n0\r\n\r\n", places=[])
def test_h11_reads_the_same_body_or_ours_refuses_it(data: bytes, places: list[int]) -> None:
    ours, theirs = outcome(data, places), h11_outcome(data)

    if isinstance(ours, str):
        return
    if ours[1] is None:
        # Not at its end yet: an answer only as to what was taken so far.
        assert theirs is None or ours[0] == theirs[0]
        return
    assert ours == theirs


@given(data=st.lists(SCRAPS, max_size=12).map(b"".join))
@example(data=b"5;a=b\r\nhello\r\n0\r\nT: v\r\n\r\n")
def test_llhttp_takes_what_ours_takes(data: bytes) -> None:
    ours = outcome(data)

    if not isinstance(ours, str) and ours[1] == b"":
        assert llhttp_takes(data)
