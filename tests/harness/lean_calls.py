"""A lean pool and a peer that it calls: at the end nothing of either is left open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from relay.lean_pool import LeanUpstream
from relay.reach import Reach
from relay.upstream import Outgoing, Sending
from tests.harness.raw_peer import RawPeer, Script, until

PLENTY_BYTES = 1 << 24
HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"


def outgoing(url: str, body: bytes = b"{}") -> Outgoing:
    return Outgoing(url, {"Accept-Encoding": "identity"}, body)


async def called(pool: LeanUpstream, url: str, body: bytes = b"{}", *, limit: int = PLENTY_BYTES) -> tuple[int, bytes]:
    """Status and body of a call."""
    answer = await pool.open(outgoing(url, body), Sending())
    try:
        return answer.status, await answer.read(limit)
    finally:
        answer.close()


def chunked(*chunks: bytes) -> bytes:
    """An answer in these chunks."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


@asynccontextmanager
async def pooled(script: Script, *, tls: Any = None, **options: Any) -> AsyncIterator[tuple[LeanUpstream, RawPeer]]:
    """A pool and a peer; when they part, every seat and every connection has to be given back."""
    pool = LeanUpstream(Reach(**{"connections": 16, **options}))
    async with RawPeer(script, tls=tls) as peer:
        yield pool, peer
        await until(lambda: pool.open_connections == pool.idle_connections == pool.pool.seats.taken)
        await pool.close()
        await peer.has(lambda peer: peer.open == 0)
    assert (pool.open_connections, pool.idle_connections, pool.pool.seats.taken) == (0, 0, 0)
