"""The lean pool as the relay sees it: a request goes out in one write and is sent twice only when it reached nobody."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING

from relay.lean.dial import Dialer
from relay.lean.pool import Pool
from relay.lean.seats import Seats
from relay.lean.wire import Shapes
from relay.reach import Reach
from relay.upstream import Answer, Outgoing, Sending

if TYPE_CHECKING:  # 8 MB that only proxies need
    from relay.aiohttp_pool import AiohttpUpstream


class LeanUpstream:
    """HTTP/1.1 on httptools. Requests through a proxy are carried by aiohttp, which knows how."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        seats = Seats(reach.connections, reach.per_origin or reach.connections, reach.max_waiting)
        dialer = Dialer(extra_roots=reach.extra_roots, permit=reach.permit)
        self.pool = Pool(dialer, seats, idle_s=reach.idle_s)
        self._shapes = Shapes()
        self._proxied: AiohttpUpstream | None = None

    @property
    def open_connections(self) -> int:
        return self.pool.open_connections

    @property
    def idle_connections(self) -> int:
        return self.pool.idle_connections

    def open(self, request: Outgoing, sending: Sending) -> Coroutine[object, object, Answer]:
        """POST a request and read the answer's head. Raises UpstreamUnreachable, UpstreamCut.

        Cancelled, it closes its connection; `sending.whole` says whether the request had left.
        """
        if request.proxy:
            return self._through_proxy(request, sending)
        site, rest = self.pool.target(request.url)
        body = request.body
        message = b"POST%b%bContent-Length: %d\r\n\r\n%b" % (rest, self._shapes.lines(request.headers), len(body), body)
        return self.pool.exchange(site, message, sending)

    async def close(self) -> None:
        await self.pool.close()
        if self._proxied is not None:
            await self._proxied.close()

    async def _through_proxy(self, request: Outgoing, sending: Sending) -> Answer:
        if self._proxied is None:
            from relay.aiohttp_pool import AiohttpUpstream

            self._proxied = AiohttpUpstream(self.reach)
        return await self._proxied.open(request, sending)
