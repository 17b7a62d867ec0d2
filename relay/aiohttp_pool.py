"""The library's client behind the `Upstream` seam, with its own timers off: the call keeps time.

Carries what the lean pool does not (proxies), and everything where UPSTREAM_POOL says so. It is imported only then: it weighs 8 MB.
"""

import asyncio

import aiohttp
from aiohttp import BytesPayload
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDictProxy
from yarl import URL

from relay.errors import UpstreamCut, UpstreamUnreachable
from relay.upstream import MAX_HEADER_BYTES, AnswerTooLarge, Outgoing, Sending, Tap


class _Body(BytesPayload):
    """A body that says when it has been written whole."""

    def __init__(self, body: bytes, sending: Sending) -> None:
        super().__init__(body, content_type="application/json")
        self._sending = sending

    async def write(self, writer: AbstractStreamWriter) -> None:
        await super().write(writer)
        self._sending.whole = True

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await super().write_with_length(writer, content_length)
        self._sending.whole = True


class AiohttpAnswer:
    __slots__ = ("_response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._response.headers

    async def read(self, limit_bytes: int) -> bytes:
        content = self._response.content
        stated = self._response.content_length
        if stated is not None and stated > limit_bytes:
            raise AnswerTooLarge(f"upstream states an answer of {stated} bytes, the limit is {limit_bytes}")
        chunks: list[bytes] = []
        size = 0
        try:
            while chunk := await content.readany():
                size += len(chunk)
                if size > limit_bytes:
                    raise AnswerTooLarge(f"an answer of more than {limit_bytes} bytes")
                chunks.append(chunk)
        except (aiohttp.ClientError, asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
            raise UpstreamCut(f"the answer broke off after {size} bytes: {_said(error)}") from error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read_some(self, tap: Tap | None = None) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
            raise UpstreamCut(f"the stream broke off: {_said(error)}") from error

    def close(self) -> None:
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


class AiohttpUpstream:
    """aiohttp, with its own timers off: the call keeps time."""

    def __init__(self, *, connections: int) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def open(self, request: Outgoing, sending: Sending) -> AiohttpAnswer:
        session = self._session or self._start()
        try:
            response = await session.post(
                URL(request.url, encoded=True),
                data=_Body(request.body, sending),
                headers=request.headers,
                proxy=request.proxy or None,
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, aiohttp.ClientProxyConnectionError) as error:
            raise UpstreamUnreachable(f"no connection to the provider: {_said(error)}") from error
        except (aiohttp.ClientError, ConnectionError, ValueError, OSError) as error:
            if sending.whole:
                raise UpstreamCut(f"the provider closed before it answered: {_said(error)}") from error
            raise UpstreamUnreachable(f"the provider took no request: {_said(error)}") from error
        return AiohttpAnswer(response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _start(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            limit_per_host=0,
            keepalive_timeout=30,
            ttl_dns_cache=30,
            enable_cleanup_closed=False,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent",),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            read_bufsize=256 * 1024,
            trust_env=False,
        )
        return self._session


def _said(error: BaseException) -> str:
    """The kind of an error. Its text may hold addresses, which clients are not told."""
    return type(error).__name__
