"""One connection: one request at a time, and the next only after a whole answer with nothing behind it.

The parser (llhttp, strict) finds where an answer ends; what it cannot know is decided here: whether the end of the connection
ends the body, how long a head may grow, and whether anything was said that nobody asked for.
"""

import asyncio
import select
import ssl
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from relay.errors import UpstreamCut, UpstreamUnreachable
from relay.lean.answer import Failure, Headers, LeanAnswer
from relay.lean.decoding import CODINGS, Decoder
from relay.lean.seats import Site
from relay.upstream import MAX_HEADER_BYTES, Sending

MAX_HEADERS = 100
MAX_QUIET_BYTES = 2 * MAX_HEADER_BYTES
"""What may come without any of it being body: a head with its punctuation, chunk sizes, trailers."""
MAX_INTERIMS = 8
"""Answers 1xx before the one that counts."""
FIRST_BYTE = ord("H")
"""The parser forgives line ends before an answer, and knows other protocols too."""
DIES_AT_ONCE_S = 2.0
"""An idle connection that the provider had closed says so within a round trip. One that breaks later may have been at work."""


SPENT = HttpResponseParser(object())
"""Of connections that are gone."""


class Stale(UpstreamCut):
    """A connection that had served before was closed as it was taken: not a byte was answered."""


class Keeper(Protocol):
    """Who owns connections."""

    def freed(self, connection: "Connection") -> None:
        """It may carry another request."""
        ...

    def vacated(self, connection: "Connection") -> None:
        """It carries no other request. May be told twice."""
        ...

    def lost(self, connection: "Connection") -> None:
        """Its transport is gone."""
        ...


class Connection(asyncio.Protocol):
    __slots__ = (
        *("_answer", "_asked_at", "_bodiless", "_ended", "_fields", "_heard", "_interims", "_keep", "_keeper"),
        *("_parser", "_poll", "_quiet", "_sending", "_transport", "_unsent", "_until_close"),
        *("idle_since", "is_idle", "is_seated", "loop", "served", "site"),
    )

    def __init__(self, keeper: Keeper, site: Site) -> None:
        self.site = site
        self.served = 0
        """Requests that it has carried."""
        self.is_seated = False
        """It has a seat at its site."""
        self.is_idle = False
        self.idle_since = 0.0
        self._keeper = keeper
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._parser = HttpResponseParser(self)
        self._answer: LeanAnswer | None = None
        self._sending = Sending()
        self._unsent = False
        self._asked_at = 0.0
        self._bodiless = self._heard = self._ended = self._keep = self._until_close = False
        self._quiet = self._interims = 0
        self._fields: list[tuple[bytes, bytes]] = []

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_usable(self) -> bool:
        """Open, and nothing waits in the kernel that nobody asked for: neither bytes nor an end."""
        return self.is_open and not self._poll.poll(0)

    def ask(self, message: bytes, sending: Sending, *, bodiless: bool = False) -> LeanAnswer:
        """Send a request. `bodiless`: its answer has no body whatever its head says, as to HEAD."""
        assert self._answer is None, "a connection carries one request at a time"
        assert self._transport is not None, "it is connected before it is asked"
        self._answer = answer = LeanAnswer(self, self.loop)
        self.served += 1
        self._sending = sending
        self._bodiless = bodiless
        self._heard = self._ended = self._keep = self._until_close = False
        self._quiet = self._interims = 0
        self._asked_at = self.loop.time()
        self._transport.write(message)
        if not self._unsent:
            sending.whole = True
        return answer

    def free(self) -> None:
        """It was not used after all."""
        self._keeper.freed(self)

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def discard(self) -> None:
        """Close it at once. An answer that waits for it has broken off."""
        answer, self._answer = self._answer, None
        if answer is not None and not answer.ended:
            answer.fail(UpstreamCut(f"the connection was closed after {answer.buffered} unread bytes"))
        if self._transport is not None:
            self._transport.abort()
        self._keeper.vacated(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's without descending from them.
        self._transport = stream = cast("asyncio.Transport", transport)
        # A byte that is not in the kernel's hands yet is not sent: `Sending.whole` depends on it.
        stream.set_write_buffer_limits(high=1, low=0)
        self._poll.register(stream.get_extra_info("socket").fileno(), select.POLLIN)

    def pause_writing(self) -> None:
        self._unsent = True

    def resume_writing(self) -> None:
        self._unsent = False
        if self._answer is not None:
            self._sending.whole = True

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.discard()
            return
        if not self._heard:
            self._heard = True
            if data[0] != FIRST_BYTE:
                self._broke("it does not begin as HTTP does")
                return
        before = answer.buffered
        self._quiet += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._ended:
                self._broke(_said(error), error)
                return
            self._keep = False
        if self._ended:
            self._finish(answer)
            return
        if answer.buffered == before:
            if self._quiet > MAX_QUIET_BYTES:
                self._broke(f"more than {MAX_QUIET_BYTES} bytes without any of the body")
                return
        else:
            self._quiet = 0
            if answer.buffered > answer.bound:
                answer.overflowed()
        answer.wake()

    def eof_received(self) -> None:
        answer = self._answer
        if answer is not None and self._until_close and self._ended_on_purpose():
            self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._broke("the provider closed the connection" if exc is None else type(exc).__name__, exc)
        self._parser = SPENT  # its own knows it: a ring that only the garbage collector would find
        self._keeper.lost(self)

    def on_message_begin(self) -> None:
        if self._ended:
            raise UpstreamCut("bytes follow the answer")
        self._fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._fields) >= MAX_HEADERS:
            raise UpstreamCut(f"more than {MAX_HEADERS} headers")
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        # Fields are no longer than what came with them.
        if self._quiet > MAX_HEADER_BYTES and sum([len(n) + len(v) for n, v in self._fields]) > MAX_HEADER_BYTES:
            raise UpstreamCut(f"a head of more than {MAX_HEADER_BYTES} bytes")
        status = self._parser.get_status_code()
        if status < 200:
            self._skip(status)
            return
        answer = self._answer
        assert answer is not None, "the parser is fed for an answer only"
        headers = Headers(self._fields)
        self._fields = []  # of the trailers, which nobody reads
        coding = headers.by_name.get("content-encoding", "").lower()
        if coding not in CODINGS and coding not in {"", "identity"}:
            raise UpstreamCut("the answer is in a coding that was not asked for")
        self._frame(answer, status, headers)
        answer.begin(status, headers, Decoder(coding) if coding in CODINGS else None)
        if self._bodiless:
            self._ended = True
            raise UpstreamCut("what follows is no body")

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        assert answer is not None, "the parser is fed for an answer only"
        answer.chunks.append(body)
        answer.buffered += len(body)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is not None and answer.status:
            self._ended = True
            self._keep = self._parser.should_keep_alive()

    def _skip(self, status: int) -> None:
        self._interims += 1
        self._quiet = 0
        if self._interims > MAX_INTERIMS or not 100 <= status <= 199 or status == 101:
            raise UpstreamCut(f"an interim answer that was not asked for: {status}, number {self._interims}")

    def _frame(self, answer: LeanAnswer, status: int, headers: Headers) -> None:
        length, coding = headers.by_name.get("content-length"), headers.by_name.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise UpstreamCut("a transfer coding that was not asked for")
        if self._bodiless or status in {204, 304}:
            return
        if length is not None:
            answer.length = int(length)
        elif coding is None:
            self._until_close = True

    def _ended_on_purpose(self) -> bool:
        """Anybody on the way can end TCP; only the provider can end TLS (RFC 9112, section 9.8)."""
        assert self._transport is not None, "it ends once"
        tls = cast("ssl.SSLObject | None", self._transport.get_extra_info("ssl_object"))
        try:
            return tls is None or not tls.read(1)
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLError:
            return False

    def _finish(self, answer: LeanAnswer) -> None:
        """The answer is whole; the reader has its own copy of what was not read yet."""
        self._answer = None
        answer.ended = True
        if answer.is_paused:
            self.resume()
        if self._keep and not self._unsent:
            self._keeper.freed(self)
        else:
            self.discard()
        answer.wake()

    def _broke(self, why: str, cause: BaseException | None = None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.ended:
            error = self._error(answer, why)
            error.__cause__ = cause
            answer.fail(error)
        self.discard()

    def _error(self, answer: LeanAnswer, why: str) -> Failure:
        if answer.status:
            return UpstreamCut(f"the answer broke off: {why}")
        if self._heard:
            return UpstreamCut(f"the provider's answer cannot be read: {why}")
        if self.served > 1 and self.loop.time() - self._asked_at <= DIES_AT_ONCE_S:
            return Stale(f"a connection that was kept had been closed: {why}")
        if not self._sending.whole:
            return UpstreamUnreachable(f"the provider took no request: {why}")
        return UpstreamCut(f"the provider closed before it answered: {why}")


def _said(error: BaseException) -> str:
    """The reason within a parser's error. A provider's bytes are not in it."""
    return str(error.__context__ or error) or type(error).__name__
