"""How a connection is made: names resolved, addresses permitted one by one, tried a quarter of a second apart, TLS on top.

No time is kept here: whoever waits cancels, and nothing that was begun stays open.
"""

import asyncio
import socket
from pathlib import Path

import aiohappyeyeballs

from relay.errors import UpstreamUnreachable
from relay.lean.connection import Connection
from relay.lean.wire import Origin
from relay.reach import NOT_PERMITTED, Permit, Trust, anywhere, is_numeric

HAPPY_EYEBALLS_DELAY_S = 0.25
"""RFC 8305, section 8."""
TLS_GOODBYE_S = 1.0


class Dialer:
    """Opens connections. `extra_roots`: a PEM file that is trusted beside the system's."""

    def __init__(self, *, extra_roots: Path | None = None, permit: Permit = anywhere) -> None:
        self._trust = Trust(extra_roots)
        self._permit = permit

    async def dial(self, origin: Origin, connection: Connection) -> None:
        """Connect `connection`. Raises UpstreamUnreachable."""
        try:
            trusted = await self._trust.context() if origin.tls else None
            reached = await self._reach(origin)
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                sock=reached,
                ssl=trusted,
                server_hostname=origin.host if trusted else None,
                ssl_shutdown_timeout=TLS_GOODBYE_S if trusted else None,
            )
        except (OSError, UnicodeError) as error:
            raise UpstreamUnreachable(f"no connection to the provider: {type(error).__name__}") from error

    async def _reach(self, origin: Origin) -> socket.socket:
        loop = asyncio.get_running_loop()
        numeric = socket.AI_NUMERICHOST if is_numeric(origin.host) else 0
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=numeric)
        permitted = [info for info in found if self._permit(str(info[4][0]))]
        if not permitted:
            raise UpstreamUnreachable(NOT_PERMITTED)
        return await aiohappyeyeballs.start_connection(
            permitted, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S, interleave=1, loop=loop
        )
