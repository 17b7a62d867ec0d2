"""The unit: a bare ASGI app that sends back what it read, served by hypercorn and uvloop as the gateway is, one worker.

The same app on uvicorn and httptools is the second unit: HTTP at the speed of a parser. `/sse` sends the events of a file,
one ASGI message each, `/sse?10` with 10 ms between them. `python -m benchmarks.echo_app hypercorn|uvicorn STREAM_FILE` takes
a free port of 127.0.0.1 and prints {"port": N}.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve  # pyright: ignore[reportUnknownVariableType]  # its trigger is untyped
from hypercorn.config import Config, Sockets
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope


class Echo:
    """An ASGI app; `events` are what `/sse` sends."""

    def __init__(self, events: list[bytes]) -> None:
        self.events = events

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            body = await _body(receive)
            if scope["path"] == "/sse":
                await self._stream(send, int(scope["query_string"] or 0) / 1000)
            else:
                await _answer(send, body)

    async def _stream(self, send: ASGISendCallable, pace_s: float) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        loop = asyncio.get_running_loop()
        due = loop.time()
        for event in self.events:
            if pace_s and (wait_s := due - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            due += pace_s
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(receive: ASGIReceiveCallable) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += message["body"]
        if not message["more_body"]:
            return body


async def _answer(send: ASGISendCallable, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _live(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def listening() -> Sockets:
    """A free port of 127.0.0.1, listened on and printed."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    sockets = config.create_sockets()
    for listener in sockets.insecure_sockets:
        listener.listen(config.backlog)
        print(f'{{"port": {listener.getsockname()[1]}}}', flush=True)
    return sockets


async def on_hypercorn(app: Echo) -> None:
    """Serve until SIGTERM."""
    config = Config()
    config.errorlog = None
    await worker_serve(ASGIWrapper(app), config, sockets=listening())


async def on_uvicorn(app: Echo) -> None:
    """As `on_hypercorn`; the loop is uvloop already."""
    asgi = cast(Any, app)  # the two servers' types for the same messages are their own
    config = uvicorn.Config(asgi, http="httptools", ws="none", lifespan="off", access_log=False, log_config=None)
    await uvicorn.Server(config).serve(sockets=listening().insecure_sockets)


SERVERS = {"hypercorn": on_hypercorn, "uvicorn": on_uvicorn}


def main() -> None:
    """Read the stream's file, then serve."""
    stream = Path(sys.argv[2]).read_bytes()
    app = Echo([event + b"\n\n" for event in stream.split(b"\n\n")[:-1]])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(SERVERS[sys.argv[1]](app))


if __name__ == "__main__":
    main()
