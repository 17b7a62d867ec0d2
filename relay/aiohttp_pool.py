"""The library's client behind the `Upstream` seam, with its own timers off: the call keeps time.

Carries what the lean pool does not (proxies), and everything where UPSTREAM_POOL says so. It is imported only then: it weighs 8 MB.
"""

import asyncio
import socket
import ssl
from collections import OrderedDict

import aiohttp
from aiohttp import BytesPayload
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from multidict import CIMultiDictProxy
from yarl import URL

from relay.errors import UpstreamCut, UpstreamUnreachable
from relay.proxies import SOCKS, NoProxy, proxy_url
from relay.reach import NOT_PERMITTED, Permit, Reach, Trust, anywhere, is_numeric
from relay.upstream import MAX_HEADER_BYTES, AnswerTooLarge, Outgoing, Sending, Tap

DNS_KEPT_S = 30
MAX_SOCKS_PROXIES = 64
"""Each has connections of its own. Beyond it the one that was used longest ago is closed, if no call is on it."""


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


class _NotPermitted(OSError):
    """Every address of a name is one that may not be connected to."""


class _Permitted(AbstractResolver):
    """Names, without the addresses that may not be connected to."""

    def __init__(self, permit: Permit) -> None:
        self._permit = permit
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [each for each in await self._resolver.resolve(host, port, family) if self._permit(each["host"])]
        if not found:
            raise _NotPermitted(NOT_PERMITTED)
        return found

    async def close(self) -> None:
        await self._resolver.close()


class _Line:
    """A session, and how many calls are on it."""

    __slots__ = ("calls", "session")

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.calls = 0


class AiohttpAnswer:
    __slots__ = ("_line", "_response", "status")

    def __init__(self, response: aiohttp.ClientResponse, line: _Line) -> None:
        self._response = response
        self._line: _Line | None = line
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
        line, self._line = self._line, None
        if line is not None:
            line.calls -= 1
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


class AiohttpUpstream:
    """aiohttp, with its own timers off: the call keeps time."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._trust = Trust(reach.extra_roots)
        self._direct: _Line | None = None
        self._by_http: _Line | None = None
        """Through proxies that speak HTTP: aiohttp keeps their connections apart itself."""
        self._by_socks: OrderedDict[URL, _Line] = OrderedDict()
        """Through one proxy each, the one that was used last at the end."""
        self._opening = 0
        self._closed = False

    async def open(self, request: Outgoing, sending: Sending) -> AiohttpAnswer:
        """As `Upstream.open`."""
        reach = self.reach
        if self._opening >= reach.connections + reach.max_waiting:
            raise UpstreamUnreachable(f"{reach.max_waiting} calls wait for a connection already")
        self._opening += 1
        try:
            return await self._open(request, sending)
        finally:
            self._opening -= 1

    async def _open(self, request: Outgoing, sending: Sending) -> AiohttpAnswer:
        url = URL(request.url, encoded=True)
        line, proxy = await self._line(url, request.proxy)
        line.calls += 1
        try:
            response = await line.session.post(
                url, data=_Body(request.body, sending), headers=request.headers, proxy=proxy, allow_redirects=False
            )
        except BaseException as error:
            line.calls -= 1
            if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _NotPermitted):
                raise UpstreamUnreachable(NOT_PERMITTED) from error
            if isinstance(error, NO_CONNECTION) or _is_of_a_proxy(error):
                raise UpstreamUnreachable(f"no connection to the provider: {_said(error)}") from error
            # EOFError: a SOCKS proxy that ended the connection instead of refusing, as for a wrong password.
            if isinstance(error, aiohttp.ClientError | ConnectionError | ValueError | OSError | EOFError):
                if sending.whole:
                    raise UpstreamCut(f"the provider closed before it answered: {_said(error)}") from error
                raise UpstreamUnreachable(f"the provider took no request: {_said(error)}") from error
            raise
        return AiohttpAnswer(response, line)

    async def close(self) -> None:
        self._closed = True
        lines = [self._direct, self._by_http, *self._by_socks.values()]
        self._by_socks.clear()
        for line in lines:
            if line is not None:
                await line.session.close()

    async def _line(self, url: URL, proxy_text: str) -> tuple[_Line, URL | None]:
        """The session that carries a request, and the proxy to tell it of. Raises UpstreamUnreachable."""
        try:
            proxy = proxy_url(proxy_text) if proxy_text else None
            trusted = await self._trust.context()
        except (NoProxy, OSError) as error:
            said = str(error) if isinstance(error, NoProxy) else f"no connection to the provider: {_said(error)}"
            raise UpstreamUnreachable(said) from error
        if self._closed:  # perhaps while the roots were read
            raise UpstreamUnreachable("the pool of connections is closed")
        if proxy is None:
            # What is an address already is not resolved, so the resolver does not ask.
            host = url.host or ""
            if is_numeric(host) and not self.reach.permit(host):
                raise UpstreamUnreachable(NOT_PERMITTED)
            if self._direct is None:
                self._direct = self._made(trusted, permit=self.reach.permit)
            return self._direct, None
        if proxy.scheme in SOCKS:
            return await self._through_socks(proxy, trusted), None
        if self._by_http is None:
            self._by_http = self._made(trusted)
        return self._by_http, proxy

    async def _through_socks(self, proxy: URL, trusted: ssl.SSLContext) -> _Line:
        while proxy not in self._by_socks:
            if len(self._by_socks) < MAX_SOCKS_PROXIES:
                self._by_socks[proxy] = self._made(trusted, socks=proxy)
            else:
                await self._make_room()
        self._by_socks.move_to_end(proxy)
        return self._by_socks[proxy]

    async def _make_room(self) -> None:
        idle = next((proxy for proxy, line in self._by_socks.items() if not line.calls), None)
        if idle is None:
            raise UpstreamUnreachable(f"calls are on {MAX_SOCKS_PROXIES} SOCKS proxies already")
        await self._by_socks.pop(idle).session.close()

    def _made(self, trusted: ssl.SSLContext, *, permit: Permit = anywhere, socks: URL | None = None) -> _Line:
        """A session over connections of its own, through one SOCKS proxy if that is given."""
        reach = self.reach
        if socks is None:
            connector = aiohttp.TCPConnector(
                limit=reach.connections,
                limit_per_host=reach.per_origin,
                keepalive_timeout=reach.idle_s,
                ttl_dns_cache=DNS_KEPT_S,
                enable_cleanup_closed=False,
                ssl=trusted,
                resolver=None if permit is anywhere else _Permitted(permit),
            )
        else:
            from aiohttp_socks import ProxyConnector

            kind = SOCKS[socks.scheme]
            connector = ProxyConnector.from_url(
                str(socks.with_scheme(kind.protocol)),
                rdns=kind.resolves,
                limit=reach.connections,
                limit_per_host=reach.per_origin,
                keepalive_timeout=reach.idle_s,
                ssl=trusted,
            )
        return _Line(
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent",),
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                read_bufsize=256 * 1024,
                trust_env=False,
            )
        )


NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.InvalidURL, aiohttp.ClientProxyConnectionError)


def _is_of_a_proxy(error: BaseException) -> bool:
    """A SOCKS proxy that could not be reached, or did not reach the provider. Its library is there only if one was used."""
    return type(error).__module__.startswith(("aiohttp_socks.", "python_socks."))


def _said(error: BaseException) -> str:
    """The kind of an error. Its text may hold addresses, which clients are not told."""
    return type(error).__name__
