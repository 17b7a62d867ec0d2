"""Request heads: what is read out of a good one, and every named way to smuggle with a bad one."""

from __future__ import annotations

import pytest

from api.http1.errors import Refused
from api.http1.head import Head, check_unfinished, read_head
from api.http1.limits import Limits

HOST = b"Host: a.example\r\n"


def read(raw: bytes, **limits: int) -> Head:
    return read_head(raw, Limits(**limits))


def request(*lines: bytes, first: bytes = b"POST / HTTP/1.1", host: bytes = HOST) -> bytes:
    return first + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def refusal(raw: bytes, **limits: int) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        read(raw, **limits)
    return refused.value.status, refused.value.reason


def test_a_head_is_read_with_names_in_lower_case_and_values_without_the_space_around_them() -> None:
    raw = request(b"X-One:  a b \t", b"x-one:c", b"Empty:", first=b"PUT /p%20q?x=1&y HTTP/1.1")

    head = read(raw)

    assert (head.method, head.target, head.http_version) == ("PUT", b"/p%20q?x=1&y", "1.1")
    assert head.headers == [(b"host", b"a.example"), (b"x-one", b"a b"), (b"x-one", b"c"), (b"empty", b"")]
    assert head.host == b"a.example"
    assert head.body_length == 0
    assert head.keeps_alive


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ((b"Content-Length: 12",), 12),
        ((b"Content-Length: 0",), 0),
        ((b"Content-Length: 007",), 7),
        ((b"Transfer-Encoding: chunked",), None),
        ((b"Transfer-Encoding: ChunkeD",), None),
    ],
)
def test_the_length_of_a_body_has_one_reading(lines: tuple[bytes, ...], length: int | None) -> None:
    head = read(request(*lines))

    assert head.body_length == length


SMUGGLING = {
    "CL.TE": ([b"Content-Length: 6", b"Transfer-Encoding: chunked"], 400),
    "TE.CL": ([b"Transfer-Encoding: chunked", b"Content-Length: 6"], 400),
    "TE.TE twice": ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], 400),
    "TE.TE second unknown": ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"], 400),
    "TE.TE first identity": ([b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"], 400),
    "TE list": ([b"Transfer-Encoding: gzip, chunked"], 400),
    "TE repeated in a list": ([b"Transfer-Encoding: chunked, chunked"], 400),
    "TE identity": ([b"Transfer-Encoding: identity"], 400),
    "TE not last": ([b"Transfer-Encoding: chunked, gzip"], 400),
    "TE with a parameter": ([b"Transfer-Encoding: chunked;q=1"], 400),
    "TE with a look-alike": ([b"Transfer-Encoding: xchunked"], 400),
    "TE quoted": ([b'Transfer-Encoding: "chunked"'], 400),
    "TE with a vertical tab": ([b"Transfer-Encoding: \x0bchunked"], 400),
    "TE empty": ([b"Transfer-Encoding:"], 400),
    "TE with a space before its colon": ([b"Transfer-Encoding : chunked"], 400),
    "TE folded": ([b"Transfer-Encoding:", b" chunked"], 400),
    "TE hidden behind a bare CR": ([b"X: a\rTransfer-Encoding: chunked"], 400),
    "TE hidden behind a bare LF": ([b"X: a\nTransfer-Encoding: chunked"], 400),
    "TE hidden behind a NUL": ([b"X: a\x00Transfer-Encoding: chunked"], 400),
    "two lengths": ([b"Content-Length: 6", b"Content-Length: 5"], 400),
    "one length twice": ([b"Content-Length: 6", b"Content-Length: 6"], 400),
    "a list of lengths": ([b"Content-Length: 6, 6"], 400),
    "a length with a sign": ([b"Content-Length: +6"], 400),
    "a negative length": ([b"Content-Length: -6"], 400),
    "a length in hexadecimal": ([b"Content-Length: 0x6"], 400),
    "a length with a space in it": ([b"Content-Length: 6 6"], 400),
    "a length with an underscore": ([b"Content-Length: 1_0"], 400),
    "a length in other digits": ([b"Content-Length: \xd9\xa6"], 400),
    "an empty length": ([b"Content-Length:"], 400),
    "a length that overflows": ([b"Content-Length: 18446744073709551617"], 400),
    "a length beyond every body": ([b"Content-Length: 9999999999999999999"], 400),
    "a length with a space before its colon": ([b"Content-Length : 6"], 400),
    "a length in a name with a control character": ([b"Content-\x01Length: 6"], 400),
    "a folded header": ([b"X: a", b" b"], 400),
    "a header folded with a tab": ([b"X: a", b"\tb"], 400),
    "a folded first header": ([b" X: a"], 400),
    "a header without a colon": ([b"X"], 400),
    "a header without a name": ([b": x"], 400),
    "a name with a space": ([b"X Y: a"], 400),
    "a name with a byte above ASCII": ([b"X\xff: a"], 400),
    "a value with NUL": ([b"X: a\x00b"], 400),
    "a value with a bell": ([b"X: a\x07b"], 400),
    "a value with DEL": ([b"X: a\x7fb"], 400),
    "a second host": ([b"Host: b.example"], 400),
    "the same host twice": ([b"Host: a.example"], 400),
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_no_request_can_be_smuggled_with(name: str) -> None:
    lines, status = SMUGGLING[name]

    refused, _ = refusal(request(*lines))

    assert refused == status


FIRST_LINES = {
    b"GET  / HTTP/1.1": 400,
    b"GET /  HTTP/1.1": 400,
    b"GET / HTTP/1.1 ": 400,
    b"GET\t/ HTTP/1.1": 400,
    b" GET / HTTP/1.1": 400,
    b"GET / x HTTP/1.1": 400,
    b"GET /": 400,
    b"GET": 400,
    b"GET / http/1.1": 400,
    b"GET / HTTP/1.1\n": 400,
    b"GET / HTTP/1,1": 400,
    b"GET / HTTP/01.1": 400,
    b"GET / HTTP/1.2": 400,
    b"GET / HTTP/0.9": 505,
    b"GET / HTTP/2.0": 505,
    b"GET / ICE/1.0": 400,
    b"SOURCE / ICE/1.0": 400,
    b"OPTIONS * RTSP/1.0": 400,
    b"GET /\x00 HTTP/1.1": 400,
    b"GET /\xff HTTP/1.1": 400,
    b"GET x HTTP/1.1": 400,
    b"get / HTTP/1.1": 400,
    b"G@T / HTTP/1.1": 400,
    b"FETCHED / HTTP/1.1": 501,
    b"CONNECT a.example:80 HTTP/1.1": 501,
}


@pytest.mark.parametrize("first", FIRST_LINES)
def test_no_request_begins_with(first: bytes) -> None:
    status, _ = refusal(request(first=first))

    assert status == FIRST_LINES[first]


@pytest.mark.parametrize(
    "host",
    [
        b"a/b",
        b"a b",
        b"a@b",
        b"a?b",
        b"a#b",
        b"a:b",
        b"a:123456",
        b"[::1",
        b"a,b:80:80",
        b"\xffa",
        b"a\\b",
        b'"a"',
        b"[::g]",
    ],
)
def test_a_host_is_a_host_and_a_port(host: bytes) -> None:
    status, reason = refusal(request(host=b"Host: " + host + b"\r\n"))

    assert (status, reason) == (400, "the host header is not a host and a port")


@pytest.mark.parametrize("host", [b"a", b"A-1.example:80", b"127.0.0.1:3000", b"[::1]", b"[::1]:80", b"", b"a:"])
def test_a_good_host_is_taken_as_it_is(host: bytes) -> None:
    head = read(request(host=b"Host: " + host + b"\r\n"))

    assert head.host == host


def test_only_http_1_0_may_come_without_a_host() -> None:
    old = read(request(host=b"", first=b"GET / HTTP/1.0"))

    status, _ = refusal(request(host=b"", first=b"GET / HTTP/1.1"))

    assert old.host == b""
    assert status == 400


def test_a_target_that_names_the_host_of_the_host_header_is_taken() -> None:
    head = read(request(first=b"GET http://A.example/x?y HTTP/1.1"))

    assert head.target == b"http://A.example/x?y"


@pytest.mark.parametrize(
    "target",
    [b"http://b.example/", b"http://a.example:80/", b"http://u@a.example/", b"http://a.example@b/", b"http:///x"],
)
def test_a_target_that_names_another_host_is_refused(target: bytes) -> None:
    status, _ = refusal(request(first=b"GET " + target + b" HTTP/1.1"))

    assert status == 400


def test_http_1_0_has_no_chunks_and_is_not_kept_alive() -> None:
    old = read(request(b"Connection: keep-alive", first=b"GET / HTTP/1.0"))

    status, _ = refusal(request(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"))

    assert not old.keeps_alive
    assert status == 400


@pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close", b"close ,x"])
def test_a_client_that_says_close_is_heard(value: bytes) -> None:
    head = read(request(b"Connection: x", b"Connection: " + value))

    assert not head.keeps_alive


def test_the_request_line_has_a_limit_of_its_own() -> None:
    fits = b"GET /" + b"a" * 86 + b" HTTP/1.1"

    status, _ = refusal(request(first=b"GET /" + b"a" * 87 + b" HTTP/1.1"), request_line_bytes=100)

    assert read(request(first=fits), request_line_bytes=100).method == "GET"
    assert status == 414


def test_a_head_has_a_limit_in_bytes_and_one_in_headers() -> None:
    long = request(b"X: " + b"a" * 200)

    too_large = refusal(long, head_bytes=len(long) - 1)
    too_many = refusal(request(b"X: a", b"X: a"), headers=2)

    assert read(long, head_bytes=len(long)).method == "POST"
    assert (too_large[0], too_many[0]) == (431, 431)
    assert len(read(request(b"X: a", b"X: a"), headers=3).headers) == 3


@pytest.mark.parametrize(
    ("line", "upgrade"),
    [
        (b"Upgrade: websocket", "websocket"),
        (b"Upgrade: WebSocket", "websocket"),
        (b"Upgrade: h2c", "h2c"),
        (b"Upgrade: TLS/1.2", ""),
        (b"X: y", ""),
    ],
)
def test_the_upgrades_that_hypercorn_grants_are_recognised(line: bytes, upgrade: str) -> None:
    head = read(request(b"Connection: Upgrade", line, first=b"GET / HTTP/1.1"))

    assert head.upgrade == upgrade


def test_an_upgrade_with_a_body_stays_here_and_keeps_its_body() -> None:
    head = read(request(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 5"))

    assert (head.upgrade, head.body_length) == ("", 5)


@pytest.mark.parametrize("part", [b"GET / HTTP/1.1\nHost", b"\x16\x03\x01\x02", b" GET", b"\r\nGET", b"{}"])
def test_what_cannot_become_a_head_is_refused_before_it_ends(part: bytes) -> None:
    with pytest.raises(Refused) as refused:
        check_unfinished(part, Limits(), checked=0)

    assert refused.value.status == 400


def test_a_line_end_in_two_reads_is_no_bare_line_feed() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: a\r\n"

    for cut in range(1, len(whole)):
        check_unfinished(whole[:cut], Limits(), checked=0)
        check_unfinished(whole, Limits(), checked=cut)

    with pytest.raises(Refused):
        check_unfinished(whole + b"\n", Limits(), checked=len(whole))
