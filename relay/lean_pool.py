"""The lean pool as the relay sees it: a request goes out in one write and is sent twice only when it reached nobody."""

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING

from relay.lean.dial import Dialer, Permit, anywhere
from relay.lean.pool import IDLE_S, Pool
from relay.lean.seats import MAX_WAITING, Seats
from relay.lean.wire import Shapes
from relay.upstream import Answer, Outgoing, Sending

if TYPE_CHECKING:  # 8 MB that only proxies need
    from relay.aiohttp_pool import AiohttpUpstream


class LeanUpstream:
    """HTTP/1.1 on httptools. Requests through a proxy are carried by aiohttp, which knows how.

    Args:
        connections: at most so many, to all origins together.
        per_origin: at most so many to one origin; 0: no cap of its own.
        max_waiting: at most so many calls wait for a connection; the next one is refused.
        idle_s: how long a connection may be idle.
        extra_roots: a PEM file of roots that are trusted beside the system's.
        permit: asked for every numeric address before it is connected to.
    """

    def __init__(
        self,
        *,
        connections: int,
        per_origin: int = 0,
        max_waiting: int = MAX_WAITING,
        idle_s: float = IDLE_S,
        extra_roots: Path | None = None,
        permit: Permit = anywhere,
    ) -> None:
        seats = Seats(connections, per_origin or connections, max_waiting)
        self.pool = Pool(Dialer(extra_roots=extra_roots, permit=permit), seats, idle_s=idle_s)
        self._shapes = Shapes()
        self._connections = connections
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

            self._proxied = AiohttpUpstream(connections=self._connections)
        return await self._proxied.open(request, sending)
