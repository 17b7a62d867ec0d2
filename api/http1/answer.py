"""The head of an answer as bytes, and how its body is framed: decided once, when the app sends `http.response.start`.

No header that the app gives can end a line early, so nothing it copies from a stranger becomes a second header or answer.
Source: RFC 9110 and RFC 9112 (read 2026-11).
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Literal

import msgspec

from api.http1.errors import BadAnswerHead
from api.http1.head import Head

Kind = Literal["plain", "length", "coding", "connection", "date"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CLOSE = b"connection: close\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_KINDS: dict[bytes, Kind] = {
    b"content-length": "length",
    b"transfer-encoding": "coding",
    b"connection": "connection",
    b"date": "date",
}
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES = {
    number: f"HTTP/1.1 {number} {_PHRASES.get(number, '')}\r\n".encode("ascii") for number in range(200, 1000)
}


class AnswerHead(msgspec.Struct, frozen=True, gc=False):
    """`data` goes on the wire as it is, blank line included.

    `length` is the promised body in bytes, None when it is chunked, ends with the connection, or is not sent at all.
    """

    data: bytes
    length: int | None
    chunked: bool
    bodiless: bool
    closes: bool

    def framed(self, piece: bytes) -> bytes:
        """A piece of the body as it travels. Nothing stays nothing: an empty chunk would end the body."""
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self.chunked and piece else piece


def answer_head(
    status: int, headers: Iterable[tuple[bytes, bytes]], request: Head, dated: bytes, *, closes: bool
) -> AnswerHead:
    """Build it. `dated` are the server's own header lines; `closes` says that the connection ends after this answer.

    Raises BadAnswerHead.
    """
    first = _STATUS_LINES.get(status)
    if first is None:
        raise BadAnswerHead(f"expected a final status from 200 to 999, got {status}")
    lines, length, coded, own_date = [first], None, False, False
    for name, value in headers:
        written, kind = _named(bytes(name))
        line = b"%b%b\r\n" % (written, bytes(value).strip())
        if kind == "plain":
            lines.append(line)
        elif kind == "length":
            length = _stated(length, bytes(value).strip())
        elif kind == "coding":
            coded = True
        elif kind == "connection":
            closes = closes or b"close" in bytes(value).lower()
        else:
            own_date = True
            lines.append(line)
    bodiless = status in (204, 304) or request.method == "HEAD"
    chunked = _frame(lines, status, None if coded else length, request)
    if closes:
        lines.append(CLOSE)
    data = b"%b%b\r\n" % (_checked(lines), _without_date(dated) if own_date else dated)
    promised = None if bodiless or coded else length
    return AnswerHead(data, promised, chunked and not bodiless, bodiless, closes)


def whole_head(status: int, lines: Sequence[bytes], length: int, dated: bytes, *, closes: bool) -> AnswerHead:
    """Of an answer to anything but HEAD that is there as a whole, its body `length` bytes. `lines` frame nothing and have no date.

    Raises BadAnswerHead.
    """
    own = b"content-length: %d\r\n" % length
    data = _head_of(status, [*lines, own, CLOSE] if closes else [*lines, own], dated)
    return AnswerHead(data, length, False, False, closes)


def stream_head(status: int, lines: Sequence[bytes], request: Head, dated: bytes, *, closes: bool) -> AnswerHead:
    """Of an answer to anything but HEAD whose length nobody knows yet. `lines` as in `whole_head`. Raises BadAnswerHead."""
    chunked = request.http_version != "1.0"
    own = [CHUNKED] * chunked + [CLOSE] * closes
    return AnswerHead(_head_of(status, [*lines, *own], dated), None, chunked, False, closes)


def _head_of(status: int, lines: list[bytes], dated: bytes) -> bytes:
    first = _STATUS_LINES.get(status)
    if first is None:
        raise BadAnswerHead(f"expected a final status from 200 to 999, got {status}")
    return b"%b%b%b\r\n" % (first, _checked(lines), dated)


def refusal(status: int, reason: str, dated: bytes) -> bytes:
    """A whole answer that ends the connection, with a line of plain text for who debugs the client."""
    body = f"{reason}\n".encode() if reason else b""
    head = b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n%b\r\n"
    return head % (_STATUS_LINES[status], len(body), dated) + body


def _frame(lines: list[bytes], status: int, length: int | None, request: Head) -> bool:
    """Add the header that frames the body; True for a chunked one."""
    if status == 204:
        return False
    if length is not None:
        lines.append(b"content-length: %d\r\n" % length)
        return False
    if status == 304 or request.http_version == "1.0":
        return False
    lines.append(CHUNKED)
    return True


@lru_cache(maxsize=1024)
def _named(name: bytes) -> tuple[bytes, Kind]:
    name = name.strip()
    if not _TOKEN.fullmatch(name):
        raise BadAnswerHead(f"expected the name of a header, got {name[:64]!r}")
    return name + b": ", _KINDS.get(name.lower(), "plain")


def _stated(before: int | None, value: bytes) -> int:
    if not _DIGITS.fullmatch(value) or before not in (None, int(value)):
        raise BadAnswerHead(f"expected one content-length in bytes, got {value[:64]!r}")
    return int(value)


def _checked(lines: list[bytes]) -> bytes:
    """The lines as one, each with one end, its last."""
    data, count = b"".join(lines), len(lines)
    if data.count(b"\n") != count or data.count(b"\r") != count or b"\0" in data:
        raise BadAnswerHead("a header's value holds CR, LF or NUL")
    return data


def _without_date(dated: bytes) -> bytes:
    return b"".join(line for line in dated.splitlines(keepends=True) if not line.lower().startswith(b"date:"))
