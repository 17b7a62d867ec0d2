"""The lean pool under httpx, for everything that is not hot. Bodies go out whole, answers come back as they arrive, decoded.

Source of the interface: httpx 0.28, "Custom Transports" and `httpx._exceptions`.
"""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

import httpx

from relay.errors import UpstreamCut, UpstreamUnreachable
from relay.lean.answer import LeanAnswer
from relay.lean.decoding import CODINGS
from relay.lean.pool import Pool
from relay.lean.wire import FRAMING, check_names, header_bytes, method_bytes
from relay.upstream import Sending

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Of a request: it is collected before it is sent."""

_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
_DECODED = frozenset((b"content-encoding", b"content-length"))


class LeanTransport(httpx.AsyncBaseTransport):
    """Calls through a pool. Whoever made the pool closes it: closing a client that uses it does not."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx's errors: ConnectError, ConnectTimeout, ReadTimeout, RemoteProtocolError, LocalProtocolError."""
        limits = request.extensions.get("timeout", {})
        connect_s, read_s = _seconds(limits.get("connect")), _seconds(limits.get("read"))
        head_s = None if connect_s is None or read_s is None else connect_s + read_s
        sending = Sending()
        body = await _collected(request)
        with _told_to(request, sending):
            async with asyncio.timeout(head_s):
                answer = await self._sent(request, body, sending)
        stream = _Body(request, answer, sending, read_s)
        return httpx.Response(
            answer.status, headers=_fields(answer), stream=stream, extensions={"http_version": b"HTTP/1.1"}
        )

    async def _sent(self, request: httpx.Request, body: bytes, sending: Sending) -> LeanAnswer:
        site, rest = self._pool.target(str(request.url))
        headers = [(name, value) for name, value in request.headers.multi_items() if name not in FRAMING]
        if request.headers.get("accept-encoding", "identity") != "identity":
            headers = [
                *((name, value) for name, value in headers if name != "accept-encoding"),
                ("accept-encoding", "gzip, deflate"),
            ]
        check_names(list({name: None for name, _ in headers}))
        length = b"Content-Length: %d\r\n" % len(body) if body or request.method in _WITH_BODY else b""
        message = b"%b%b%b%b\r\n%b" % (method_bytes(request.method), rest, header_bytes(headers), length, body)
        return await self._pool.exchange(site, message, sending, bodiless=request.method == "HEAD")


class _Body(httpx.AsyncByteStream):
    def __init__(self, request: httpx.Request, answer: LeanAnswer, sending: Sending, read_s: float | None) -> None:
        self._request = request
        self._answer = answer
        self._sending = sending
        self._read_s = read_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._next():
            yield chunk

    async def aclose(self) -> None:
        self._answer.close()

    async def _next(self) -> bytes:
        with _told_to(self._request, self._sending):
            async with asyncio.timeout(self._read_s):
                return await self._answer.read_some()


def _seconds(stated: object) -> float | None:
    return float(stated) if isinstance(stated, int | float) else None


def _fields(answer: LeanAnswer) -> list[tuple[bytes, bytes]]:
    """What was decoded here must not be decoded again."""
    fields = answer.headers.fields
    if answer.headers.get("content-encoding", "").lower() not in CODINGS:
        return fields
    return [(name, value) for name, value in fields if name.lower() not in _DECODED]


async def _collected(request: httpx.Request) -> bytes:
    assert isinstance(request.stream, httpx.AsyncByteStream), "an async client makes async bodies"
    parts: list[bytes] = []
    size = 0
    async for part in request.stream:
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise httpx.LocalProtocolError(f"a request's body may have {MAX_BODY_BYTES} bytes", request=request)
        parts.append(part)
    return b"".join(parts)


@contextmanager
def _told_to(request: httpx.Request, sending: Sending) -> Generator[None]:
    """The pool's errors as httpx's."""
    try:
        yield
    except UpstreamUnreachable as error:
        raise httpx.ConnectError(str(error), request=request) from error
    except UpstreamCut as error:
        raise httpx.RemoteProtocolError(str(error), request=request) from error
    except TimeoutError as error:
        if sending.whole:
            raise httpx.ReadTimeout("the answer did not come in time", request=request) from error
        raise httpx.ConnectTimeout("no connection was made in time", request=request) from error
