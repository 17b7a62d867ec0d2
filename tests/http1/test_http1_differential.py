"""Ours beside h11, on requests that are nearly right: both read the same, or ours refuses for a reason in the table."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.http1.wired import Outcome, Request, cut, outcome

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
STRICTER = {
    "a line of the head does not end with CR LF": (
        b"GET / HTTP/1.1\nHost: a\n\n",
        "h11 takes bare LF; RFC 9112, 2.2 allows to, and proxies disagree about it",
    ),
    "a header is folded over two lines": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "h11 unfolds; RFC 9112, 5.2 allows to refuse",
    ),
    "content-length is not one number": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0000000000000000000\r\n\r\n",
        "h11 takes up to 20 digits; 18 are enough for every body",
    ),
    "HTTP/1.0 has no transfer-encoding": (
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "h11 takes it; RFC 9112, 6.1 calls such framing faulty",
    ),
    "the host header is not a host and a port": (
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "h11 does not look; RFC 9112, 3.2 demands 400",
    ),
    "the target names another host than the host header": (
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "h11 does not look; two readers could route by two hosts",
    ),
    "the method is not known": (
        b"FETCH / HTTP/1.1\r\nHost: a\r\n\r\n",
        "h11 takes any token; llhttp knows the registered ones",
    ),
    "a request begins with its method, in capitals": (
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "hypercorn turns `get` into `GET`; methods are case-sensitive",
    ),
    "CONNECT is not taken, this is no proxy": (
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "h11 hands it on; no app of ours answers it",
    ),
    "only HTTP/1.1 and HTTP/1.0 are spoken here": (
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "h11 takes any two digits",
    ),
    "not a request": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
        "llhttp, every leniency off: repeated and odd lengths, both framings, control characters, odd versions and targets",
    ),
    "a chunk does not begin with its size": (
        CHUNKED + b"0 \r\n\r\n",
        "h11 takes a space after the size, long sizes and any extension",
    ),
    "a line of the chunked body is too long or does not end with CR LF": (
        CHUNKED + b"0;" + b"a" * 600 + b"\r\n\r\n",
        "h11 has no limit of its own for extensions",
    ),
    "a trailer is not a name, a colon and a value": (
        CHUNKED + b"0\r\nA: \x01\r\n\r\n",
        "h11 unfolds trailers and takes control characters",
    ),
}
"""Reasons for which ours refuses what h11 takes: a request of which that is true, and why it is so."""


@pytest.fixture(scope="module")
def turning() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def h11_outcome(data: bytes) -> Outcome:
    """What a server on h11 makes of these bytes, each request answered with nothing and the connection kept alive."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(data)
    found: list[Request] = []
    request, body = None, b""
    try:
        while (event_ := server.next_event()) is not h11.NEED_DATA:
            if isinstance(event_, h11.Request):
                request, body = event_, b""
            elif isinstance(event_, h11.Data):
                body += event_.data
            elif isinstance(event_, h11.EndOfMessage) and request is not None:
                found.append(_seen(request, body))
                server.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
                server.send(h11.EndOfMessage())
                if server.our_state is not h11.DONE or server.their_state is not h11.DONE:
                    return Outcome(found, "closed")
                server.start_next_cycle()
    except h11.RemoteProtocolError as error:
        return Outcome(found, str(error), error.error_status_hint)
    return Outcome(found, "waiting")


def _seen(request: h11.Request, body: bytes) -> Request:
    version = request.http_version.decode()
    return Request(
        request.method.decode().upper(), request.target.removesuffix(b"?"), version, list(request.headers), body
    )


def often(usual: bytes, *odd: bytes) -> st.SearchStrategy[bytes]:
    """The usual one 29 times in 30, so that a whole request is wrong in few places."""
    return st.integers(0, 29).flatmap(lambda number: st.just(usual) if number else st.sampled_from(odd))


METHODS = often(
    b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"get", b"PURGE", b"FOO", b"G T", b"SETUP", b"CONNECT", b"\x00", b""
)
TARGETS = often(
    b"/a?b=c",
    b"/",
    b"*",
    b"/?",
    b"/%00",
    b"/a b",
    b"/\xc3\xa9",
    b"http://a/x",
    b"http://b/x",
    b"a",
    b"//x",
    b"/#f",
    b"/{}|",
    b"",
)
VERSIONS = often(
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"HTTP/11", b""
)
ENDS = often(b"\r\n", b"\n", b"\r", b"\r\r\n", b"\r\n ", b" \r\n")
NAMES = often(b"X-Any", b"x-any", b"X Any", b"X-Any ", b"X\x00", b"", b"(X)", b"X\xff")
VALUES = often(b"some value", b"", b"\t", b"a\x00b", b"a\x01b", b"a\rb", b"\xff", b"a\x0bb", b" \t a \t ")
LINES = st.one_of(
    st.tuples(NAMES, often(b": ", b":", b" : ", b"", b":\t"), VALUES).map(b"".join),
    st.sampled_from(
        [b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue", b"Upgrade: x", b"Accept: */*"]
    ),
    often(
        b"Connection: Upgrade",
        *(b"Host: a", b"Host: b", b"host:", b"Host: a/b"),
        *(
            b"Content-Length: 5",
            b"Content-Length: 3",
            b"Content-Length: 05",
            b"Content-Length: 5, 5",
            b"Content-Length: +5",
        ),
        *(b"Content-Length: -1", b"Content-Length: 99999999999999999999999", b"Content-Length:"),
        *(b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: gzip, chunked"),
        *(b"Transfer-Encoding: identity", b"Transfer-Encoding : chunked", b"Transfer-Encoding: chunked, chunked"),
    ),
)
HOSTS = often(b"Host: a", b"Host: A", b"HOST:a", b"", b"Host : a", b"Host: a, b")
BODIES = often(
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"0\r\n\r\n",
    b"hellohello",
)
FRAMINGS = often(b"", b"Content-Length: 5", b"Transfer-Encoding: chunked")


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, wrong in few places or none."""
    parts = [draw(METHODS), b" ", draw(TARGETS), b" ", draw(VERSIONS), draw(ENDS)]
    framing = draw(FRAMINGS)
    lines = [draw(HOSTS), framing, *draw(st.lists(LINES, max_size=3))]
    for line in lines:
        parts += [line, draw(ENDS)] if line else []
    body = {b"": b"", b"Content-Length: 5": b"hello"}.get(framing, b"5\r\nhello\r\n0\r\n\r\n")
    parts += [draw(ENDS), draw(st.one_of(st.just(body), BODIES))]
    return b"".join(parts)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """One to three requests in a row, with up to two bytes put in, taken out or replaced."""
    data = b"".join(draw(st.lists(requests(), min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 3))
        scrap = draw(
            st.sampled_from([b"", b"\r\n", b"\n", b"\r", b" ", b":", b"\x00", b"0", b"a", b"\t", b"\xff", b",", b";"])
        )
        data = data[:at] + scrap + data[at + length :]
    return data


@pytest.mark.parametrize("reason", STRICTER)
def test_the_table_lists_a_difference_that_is_there(turning: asyncio.AbstractEventLoop, reason: str) -> None:
    sample, _ = STRICTER[reason]

    ours = turning.run_until_complete(outcome([sample]))

    assert ours.end.partition(":")[0] == reason
    assert len(h11_outcome(sample).requests) == 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated(), places=st.lists(st.integers(0, 600), max_size=3))
def test_h11_reads_the_same_or_ours_is_stricter_for_a_listed_reason(
    turning: asyncio.AbstractEventLoop, data: bytes, places: list[int]
) -> None:
    ours = turning.run_until_complete(outcome(cut(data, places)))
    theirs = h11_outcome(data)

    event("refused" if ours.status else f"{ours.end} after {len(ours.requests)}")
    assert ours.requests == theirs.requests[: len(ours.requests)]
    if len(ours.requests) < len(theirs.requests) or (ours.status and not theirs.status):
        assert ours.end.partition(":")[0] in STRICTER
    elif not theirs.status:
        assert ours.end == theirs.end


TOKEN = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
WORD = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), min_size=1, max_size=9)
VALUE = st.lists(WORD.map(lambda word: word.encode("latin-1")), max_size=3).map(b" ".join)
PATH = st.text("abc/019-._~!$&'()*+,;=:@%", max_size=20).map(lambda text: b"/" + text.encode())
TAKEN = {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"}


@st.composite
def good(draw: st.DrawFn) -> tuple[bytes, Request]:
    """A request with nothing wrong in it, and what has to be read out of it."""
    method = draw(
        st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD", b"PURGE", b"M-SEARCH"])
    )
    query = draw(
        st.one_of(st.just(b""), st.text("abc=&%+?/:@", min_size=1, max_size=9).map(lambda text: b"?" + text.encode()))
    )
    target = draw(PATH) + query
    headers = draw(st.lists(st.tuples(TOKEN, VALUE).filter(lambda pair: pair[0].lower() not in TAKEN), max_size=5))
    headers.insert(
        draw(st.integers(0, len(headers))), (b"Host", draw(st.sampled_from([b"a", b"a.example:80", b"[::1]", b""])))
    )
    body = draw(st.binary(max_size=30))
    chunked = draw(st.booleans())
    if chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    else:
        headers += [(b"Content-Length", str(len(body)).encode())] if body else []
        framed = body
    space = draw(st.sampled_from([b"", b" ", b"\t", b"  "]))
    after = st.sampled_from([b"", b" ", b"  "])
    lines = [b"%b:%b%b%b" % (name, space, value, draw(after)) for name, value in headers]
    raw = b"\r\n".join([method + b" " + target + b" HTTP/1.1", *lines, b"", b""]) + framed
    read = Request(method.decode(), target, "1.1", [(name.lower(), value) for name, value in headers], body)
    return raw, read


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(good(), min_size=1, max_size=4), places=st.lists(st.integers(0, 600), max_size=4))
def test_every_good_request_is_read_as_it_was_meant(
    turning: asyncio.AbstractEventLoop, sent: list[tuple[bytes, Request]], places: list[int]
) -> None:
    data = b"".join(raw for raw, _ in sent)

    ours = turning.run_until_complete(outcome(cut(data, places)))

    assert ours.requests == [read for _, read in sent]
    assert ours.end == "waiting"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated(), places=st.lists(st.integers(0, 600), max_size=8))
def test_how_the_bytes_are_cut_changes_nothing(
    turning: asyncio.AbstractEventLoop, data: bytes, places: list[int]
) -> None:
    whole = turning.run_until_complete(outcome([data] if data else []))

    pieces = turning.run_until_complete(outcome(cut(data, places)))

    assert pieces.requests == whole.requests
    assert bool(pieces.status) == bool(whole.status)


def test_a_chunked_request_and_the_one_after_it_are_read_as_h11_reads_them(turning: asyncio.AbstractEventLoop) -> None:
    data = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: v\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"
    wanted: Any = [(b"/a", b"hello"), (b"/b", b"")]

    ours = turning.run_until_complete(outcome([data]))

    assert [(request.target, request.body) for request in ours.requests] == wanted
    assert ours.requests == h11_outcome(data).requests
