"""A real proxy, HTTP or SOCKS, on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pproxy  # type: ignore[import-untyped]


@dataclass
class Proxy:
    """A running proxy, and where it was asked to connect to."""

    port: int
    asked: list[str] = field(default_factory=list)


@asynccontextmanager
async def proxy(protocol: str, secret: str = "") -> AsyncIterator[Proxy]:
    """`secret` is `user:password`; without one everybody may use it."""
    server = pproxy.Server(f"{protocol}://127.0.0.1:0" + (f"#{secret}" if secret else ""))
    asked: list[str] = []
    # It would take whoever had the password once from the same address, whatever they say the next time.
    terms = {"rserver": [pproxy.Connection("direct://")], "verbose": asked.append, "authtime": -1}
    running = await server.start_server(terms)
    try:
        yield Proxy(running.sockets[0].getsockname()[1], asked)
    finally:
        running.close()
        await running.wait_closed()
