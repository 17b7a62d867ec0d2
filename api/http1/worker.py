"""What all connections of one hypercorn worker share, and the one watch that tells them when it stops."""

import asyncio
from collections.abc import Awaitable, Callable
from time import time
from typing import Any, Protocol

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from api.asgi import Receive, Scope, Send
from api.client import Client
from api.http1.errors import Refused
from api.http1.head import Head
from api.http1.limits import Limits

App = Callable[[Scope, Receive, Send, Callable[..., Any], Callable[..., Any]], Awaitable[None]]
"""hypercorn's wrapper around the app: it also takes ways to run a function in a thread and a coroutine from one."""


Direct = Callable[[str, bytes], Callable[[Client], Awaitable[None]] | None]
"""By method and target: what answers a request without ASGI's messages, for an app that has such. It chooses the request id itself."""


class Draining(Protocol):
    """A connection that can be asked to end."""

    def drain(self) -> None:
        """Take no further request; end once the present one is answered."""
        ...


class Worker:
    """One per hypercorn worker context."""

    def __init__(
        self,
        app: App,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        context: WorkerContext,
        state: dict[str, Any],
        limits: Limits,
    ) -> None:
        self.app = app
        self.direct: Direct = _direct_of(app)
        self.loop = loop
        self.config = config
        self.context = context
        self.state = state
        self.limits = limits
        self.connections: set[Draining] = set()
        self.draining = context.terminated.is_set()
        """The worker stops: no request begins that has not begun."""
        self.counts_requests = context.max_requests is not None
        self.logs_access = config.accesslog is not None or config.statsd_host is not None
        self._watch: asyncio.Task[None] | None = None
        self._second = -1
        self._dated = b""

    @property
    def head_s(self) -> float:
        """How long a head may take that begins now."""
        return self.limits.drain_head_s if self.draining else self.limits.head_s

    def known(self, head: Head) -> Head:
        """The head, if it is for a host that the configuration names, where it names any. Raises Refused."""
        names = self.config.server_names
        if names and head.host.decode("latin-1") not in names:
            raise Refused(404, "this host is not served here")
        return head

    def opened(self, connection: Draining) -> None:
        """Count it among those that are told when the worker stops."""
        self.connections.add(connection)
        if self._watch is None:
            self._watch = self.loop.create_task(self._tell_all())

    def closed(self, connection: Draining) -> None:
        self.connections.discard(connection)

    def dated(self) -> bytes:
        """The server's own header lines (date, server, alt-svc), made once a second."""
        second = int(time())
        if second != self._second:
            self._second = second
            self._dated = b"".join(b"%b: %b\r\n" % pair for pair in self.config.response_headers("h11"))
        return self._dated

    def sync_spawn(self, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """Run a plain function in the loop's thread pool."""
        return self.loop.run_in_executor(None, function, *arguments)

    def call_soon(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a coroutine function on the loop, from a thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(function(*arguments), self.loop).result()

    async def _tell_all(self) -> None:
        await self.context.terminated.wait()
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()


def _direct_of(app: App) -> Direct:
    """`direct` of the application, which hypercorn has wrapped."""
    found: Direct | None = getattr(getattr(app, "app", None), "direct", None)
    return found or _none_directly


def _none_directly(method: str, target: bytes) -> None:
    """An application that speaks ASGI only."""
