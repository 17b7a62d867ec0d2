"""A head that was seen before on its connection is read as the parser reads it, byte for byte, or by the parser."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.http1 import heads
from api.http1.errors import Refused
from api.http1.head import Head, read_head
from api.http1.heads import MAX_KEPT_BYTES, Heads
from api.http1.limits import Limits

LIMITS = Limits()
LINES = [
    b"Content-Length: %d",
    b"content-length:%d",
    b"CONTENT-LENGTH: \t %d",
    b"X-Length: content-length: %d",
    b"Authorization: Bearer sk-a",
    b"authorization: sk-b",
    b"Connection: close",
    b"Expect: 100-continue",
    b"Transfer-Encoding: chunked",
    b"X-Request-Id: r-%d",
    b"Accept: */*",
]
line = st.tuples(st.sampled_from(LINES), st.sampled_from([0, 1, 7, 10, 1078, 10**17])).map(
    lambda drawn: drawn[0] % drawn[1] if b"%d" in drawn[0] else drawn[0]
)


def head_of(lines: list[bytes], first: bytes = b"POST /v1 HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: a.example", *lines]) + b"\r\n\r\n"


def said(head: Head) -> tuple[object, ...]:
    fields = [getattr(head, name) for name in head.__struct_fields__ if name != "asker"]
    asker = head.asker
    return (*fields, asker.credential.text, asker.credential.suffix, asker.request_id, asker.encoding)


def read(reader: Heads | None, raw: bytes) -> tuple[object, ...]:
    try:
        return said(reader.read(raw) if reader else read_head(raw, LIMITS))
    except Refused as refused:
        return refused.status, refused.reason


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(line, max_size=5), min_size=1, max_size=4), st.lists(st.integers(0, 3), min_size=2, max_size=8)
)
def test_a_connection_reads_every_head_as_the_parser_does(kinds: list[list[bytes]], order: list[int]) -> None:
    reader = Heads(LIMITS)
    raws = [head_of(kinds[which % len(kinds)]) for which in order]

    assert [read(reader, raw) for raw in raws] == [read(None, raw) for raw in raws]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**18 - 1), st.binary(max_size=6), st.integers(0, 200), st.integers(0, 200))
def test_one_byte_that_differs_is_one_that_the_parser_sees(length: int, put: bytes, at: int, gone: int) -> None:
    kept = head_of([b"Authorization: Bearer sk-a", b"Content-Length: 1078", b"X-One: 1"])
    reader = Heads(LIMITS)
    reader.read(kept)
    altered = kept.replace(b"1078", b"%d" % length)
    altered = altered[: at % len(altered)] + put + altered[at % len(altered) + gone % 3 :]

    assert read(reader, altered) == read(None, altered)


@pytest.mark.parametrize(
    "digits",
    [b"", b"-1", b"+1", b" 1", b"1 ", b"1_0", b"0x1", b"1,1", b"1\r\nContent-Length: 1", b"9" * 19, "١".encode()],
)
def test_what_is_no_length_is_read_by_the_parser(digits: bytes) -> None:
    kept = head_of([b"Content-Length: 5", b"X: 1"])
    reader = Heads(LIMITS)
    reader.read(kept)
    altered = kept.replace(b": 5\r", b": " + digits + b"\r")

    assert read(reader, altered) == read(None, altered)


def test_the_same_head_is_parsed_once_and_its_headers_are_each_requests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []

    def counting(raw: bytes, limits: Limits) -> Head:
        parsed.append(raw)
        return read_head(raw, limits)

    monkeypatch.setattr(heads, "read_head", counting)
    reader = Heads(LIMITS)

    first, second = (reader.read(head_of([b"Content-Length: %d" % size])) for size in (5, 12))
    first.headers.clear()

    assert len(parsed) == 1
    assert (second.body_length, second.headers[1]) == (12, (b"content-length", b"12"))
    assert second.asker is first.asker


def test_a_long_head_is_not_kept() -> None:
    reader = Heads(LIMITS)
    raw = head_of([b"X: " + b"x" * MAX_KEPT_BYTES])

    assert reader.read(raw).asker is not reader.read(raw).asker


def test_a_refused_head_leaves_nothing_behind() -> None:
    reader = Heads(LIMITS)
    good = head_of([b"Content-Length: 5"])
    bad = head_of([b"Content-Length: 5", b"Content-Length: 6"])
    reader.read(good)

    with suppress(Refused):
        reader.read(bad)

    assert read(reader, bad) == read(None, bad)
    assert read(reader, good) == read(None, good)
