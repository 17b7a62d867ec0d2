"""Where a request's body ends: counted bytes or chunks, strictly as RFC 9112 writes them.

llhttp is not used for bodies: it goes on into the next request without saying where that began, and this server parses a request
only when it can be served. A decoder takes what arrived and gives the body's bytes, and what follows once the body is over.
"""

import re
from typing import Protocol

from api.http1.errors import Refused
from api.http1.limits import Limits

CRLF = b"\r\n"
CHUNK_LINE_BYTES = 512
"""The longest line that opens a chunk, extensions included."""
IDLE_FRAMING_BYTES = 16 * 1024
"""What chunk lines may cost beyond what sending the same bytes in small chunks needs."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED))
_TRAILER = re.compile(rb"%b:[\t -~\x80-\xff]*" % _TOKEN)


class Body(Protocol):
    """A decoder of one body."""

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The body's bytes in `data`, and what follows the body; None while it goes on. Raises Refused."""
        ...


class Counted:
    """A body of a stated length in bytes, above 0."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            return data, None
        if len(data) == left:
            return data, b""
        return data[:left], data[left:]


class Chunked:
    """A chunked body. Extensions and trailers are checked and then ignored."""

    __slots__ = ("_excess", "_held", "_in_trailers", "_left", "_limits", "_trailer_bytes", "_trailers", "_wants_end")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = b""
        """The beginning of a line whose end has not come."""
        self._left = 0
        """Bytes of the current chunk that have not come."""
        self._wants_end = False
        """The chunk's bytes are there, the line end after them is not."""
        self._in_trailers = False
        self._trailers = 0
        self._trailer_bytes = 0
        self._excess = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._wants_end = not self._left
                continue
            end = data.find(CRLF, at, at + self._longest_line() + 2)
            if end < 0:
                self._hold(data[at:])
                break
            line, at = data[at:end], end + 2
            if self._is_last(line):
                return b"".join(pieces), data[at:]
        return b"".join(pieces), None

    def _longest_line(self) -> int:
        return self._limits.head_bytes if self._in_trailers else CHUNK_LINE_BYTES

    def _hold(self, part: bytes) -> None:
        if self._wants_end and part != b"\r":
            raise _too_long()
        if b"\n" in part or len(part) > self._longest_line():
            raise Refused(400, "a line of the chunked body is too long or does not end with CR LF")
        self._held = part

    def _is_last(self, line: bytes) -> bool:
        """Take one line of the framing; True when the body ends with it."""
        if self._wants_end:
            if line:
                raise _too_long()
            self._wants_end = False
        elif self._in_trailers:
            return self._is_blank(line)
        else:
            self._open_chunk(line)
        return False

    def _open_chunk(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise Refused(400, "a chunk does not begin with its size")
        self._left = int(found[1], 16)
        self._in_trailers = not self._left
        self._excess = max(0, self._excess + len(line) - 16 - 2 * self._left)
        if self._excess > IDLE_FRAMING_BYTES:
            raise Refused(400, "the chunked body is mostly framing")

    def _is_blank(self, line: bytes) -> bool:
        if not line:
            return True
        self._trailers += 1
        self._trailer_bytes += len(line) + 2
        if self._trailers > self._limits.headers or self._trailer_bytes > self._limits.head_bytes:
            raise Refused(431, "the trailers are larger than a head may be")
        if not _TRAILER.fullmatch(line):
            raise Refused(400, "a trailer is not a name, a colon and a value")
        return False


def _too_long() -> Refused:
    return Refused(400, "a chunk is longer than its size")
