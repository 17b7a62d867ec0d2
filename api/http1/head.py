"""A request head, whole or refused: llhttp reads it with every leniency off, and what it lets pass is checked here.

The request line is compared byte by byte with what was understood, and the body's length has exactly one reading, so no two
servers in a row can disagree about where this request ends.
Source: RFC 9110 and RFC 9112 (read 2026-11); llhttp 9 as in httptools 0.9.
"""

import re
from functools import lru_cache
from typing import Literal

import httptools
import msgspec

from api.client import Asker, asker_of
from api.http1.errors import Refused
from api.http1.limits import Limits

Upgrade = Literal["", "websocket", "h2c"]

HEAD_END = b"\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
"""What an HTTP/2 client with prior knowledge sends first. Source: RFC 9113, 3.4."""

_LISTENED = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"))
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_TARGET_URI = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*://([^/?#]*)")


class Head(msgspec.Struct, frozen=True, gc=False):
    """One request head. Names of headers are in lower case, values without the space around them, both in the client's order.

    `body_length` is in bytes and None for a chunked body. `http_version` is "1.1" or "1.0".
    """

    method: str
    target: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]
    host: bytes
    body_length: int | None
    keeps_alive: bool
    expects_continue: bool
    upgrade: Upgrade
    asker: Asker


class _Fields:
    """Collects what llhttp finds. `listened` are the headers that say something about the connection or the body."""

    __slots__ = ("headers", "listened", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.listened: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        pair = (name.lower(), value.rstrip(b" \t"))
        self.headers.append(pair)
        if pair[0] in _LISTENED:
            self.listened.append(pair)


def read_head(raw: bytes, limits: Limits) -> Head:
    """Read a head that ends with its blank line. Raises Refused."""
    line = raw[: raw.find(b"\r\n")]
    check_size(raw, limits)
    _check_lines(raw, limits)
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an upgrade that is not taken here is a request like any other
    except httptools.HttpParserInvalidMethodError:
        raise _unknown_method(line) from None
    except httptools.HttpParserError as error:
        raise Refused(400, f"not a request: {error}") from None
    version = line[-3:]
    method = parser.get_method()
    if line != b"%b %b HTTP/%b" % (method, fields.target, version) or version not in (b"1.1", b"1.0"):
        raise _bad_line(line)
    if method == b"CONNECT":
        raise Refused(501, "CONNECT is not taken, this is no proxy")
    return _meaning(method.decode("ascii"), fields, version.decode("ascii"))


def check_size(raw: bytes, limits: Limits) -> None:
    """Refuse what is too long already, whole or not. Raises Refused."""
    if len(raw) > limits.request_line_bytes and raw.find(b"\r\n", 0, limits.request_line_bytes + 2) < 0:
        raise Refused(414, f"the request line is longer than {limits.request_line_bytes} bytes")
    if len(raw) > limits.head_bytes:
        raise Refused(431, f"the head is larger than {limits.head_bytes} bytes")


def check_unfinished(raw: bytes, limits: Limits, *, checked: int) -> None:
    """Refuse the beginning of a head that cannot become one; its first `checked` bytes were looked at. Raises Refused."""
    check_size(raw, limits)
    if raw.count(b"\n", checked) != raw.count(b"\r\n", max(0, checked - 1)):
        raise Refused(400, "a line of the head does not end with CR LF")
    if not checked and not _TOKEN.match(raw):
        raise Refused(400, "a request begins with its method, in capitals")


def _check_lines(raw: bytes, limits: Limits) -> None:
    lines = raw.count(b"\r\n")
    if raw.count(b"\n") != lines or raw.count(b"\r") != lines:
        raise Refused(400, "a line of the head does not end with CR LF")
    if lines - 2 > limits.headers:
        raise Refused(431, f"there are more than {limits.headers} headers")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise Refused(400, "a header is folded over two lines")


def _unknown_method(line: bytes) -> Refused:
    method, space, _ = line.partition(b" ")
    if space and _TOKEN.fullmatch(method) and method.isupper():
        return Refused(501, "the method is not known")
    return Refused(400, "a request begins with its method, in capitals")


def _bad_line(line: bytes) -> Refused:
    if re.fullmatch(rb"[^ ]+ [^ ]+ HTTP/[0-9]\.[0-9]", line):
        return Refused(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return Refused(400, "the request line is not: method, one space, target, one space, version")


def _meaning(method: str, fields: _Fields, version: str) -> Head:
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    options, upgrade, expects = b"", b"", False
    for name, value in fields.listened:
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            options = b"%b,%b" % (options, value.lower())
        elif name == b"upgrade":
            upgrade = value.lower()
        else:
            expects = expects or value.lower() == b"100-continue"
    tokens = frozenset(option.strip() for option in options.split(b",")) if options else frozenset[bytes]()
    return Head(
        method=method,
        target=fields.target,
        http_version=version,
        headers=fields.headers,
        host=_host(hosts, fields.target, version),
        body_length=_body_length(lengths, codings, version),
        keeps_alive=version == "1.1" and b"close" not in tokens,
        expects_continue=expects and version == "1.1",
        upgrade=_upgrade(method, upgrade, tokens, has_body=bool(lengths or codings)) if upgrade else "",
        asker=asker_of(fields.headers),
    )


def _body_length(lengths: list[bytes], codings: list[bytes], version: str) -> int | None:
    """Bytes; None for chunked. A request says it once and in one way, or it is refused."""
    if codings:
        if lengths:
            raise Refused(400, "content-length and transfer-encoding exclude each other")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Refused(400, "the only transfer-encoding taken is chunked")
        if version == "1.0":
            raise Refused(400, "HTTP/1.0 has no transfer-encoding")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Refused(400, "content-length is not one number")
    return int(lengths[0])


def _host(hosts: list[bytes], target: bytes, version: str) -> bytes:
    if len(hosts) != 1:
        if hosts or version == "1.1":
            raise Refused(400, "there must be exactly one host header")
        return b""
    host = hosts[0]
    if not _is_host(host):
        raise Refused(400, "the host header is not a host and a port")
    if target[:1] not in (b"/", b"*"):
        uri = _TARGET_URI.match(target)
        if uri is None or uri[1].lower() != host.lower():
            raise Refused(400, "the target names another host than the host header")
    return host


@lru_cache(maxsize=256)
def _is_host(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


def _upgrade(method: str, wanted: bytes, tokens: frozenset[bytes], *, has_body: bool) -> Upgrade:
    """The upgrade that hypercorn's own class would grant. Any other is passed over, as RFC 9110, 7.8 allows."""
    if wanted == b"websocket" and method == "GET" and b"upgrade" in tokens:
        return "websocket"
    if wanted == b"h2c" and not has_body:
        return "h2c"
    return ""
