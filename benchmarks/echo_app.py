"""The unit: a bare ASGI app that sends back what it read, served by hypercorn and uvloop as the gateway is, one worker.

`/sse` sends the events of a file, one ASGI message each. `python -m benchmarks.echo_app STREAM_FILE` takes a free port
of 127.0.0.1 and prints {"port": N}.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve  # pyright: ignore[reportUnknownVariableType]  # its trigger is untyped
from hypercorn.config import Config
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
                await self._stream(send)
            else:
                await _answer(send, body)

    async def _stream(self, send: ASGISendCallable) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event in self.events:
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


async def serve(events: list[bytes]) -> None:
    """Serve until SIGTERM; prints the port once it is bound."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    sockets = config.create_sockets()
    for listener in sockets.insecure_sockets:
        listener.listen(config.backlog)
        print(f'{{"port": {listener.getsockname()[1]}}}', flush=True)
    await worker_serve(ASGIWrapper(Echo(events)), config, sockets=sockets)


def main() -> None:
    """Read the stream's file, then serve."""
    stream = Path(sys.argv[1]).read_bytes()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve([event + b"\n\n" for event in stream.split(b"\n\n")[:-1]]))


if __name__ == "__main__":
    main()
