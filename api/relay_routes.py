"""The relay's routes: raw ASGI, bytes in and bytes out. No dependency, no model, no middleware but the request id."""

import asyncio
import logging
from contextlib import aclosing
from time import monotonic

from starlette.routing import Route as StarletteRoute

from api import problems
from api.asgi import (
    MAX_CLIENT_ID_CHARS,
    REQUEST_ID,
    ClientLeft,
    Receive,
    Scope,
    Send,
    answer,
    encoded,
    header,
    read_body,
)
from relay import sse
from relay.call import Call
from relay.desk import Desk
from relay.errors import Interrupted, RelayError
from relay.format import Format
from relay.formats.openai_chat import OpenAIChat
from relay.formats.openai_completions import OpenAICompletions
from relay.formats.openai_embeddings import OpenAIEmbeddings
from relay.relay import Head, relay

log = logging.getLogger("veloera.relay")

WATCH_AFTER_S = 0.05

CORS = (b"access-control-allow-origin", b"*")
PREFLIGHT = [
    CORS,
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"86400"),
]


class RelayEndpoint:
    """One endpoint: reads a call, carries it, writes what comes back."""

    def __init__(self, format_: Format, desk: Desk, *, body_limit_bytes: int) -> None:
        self._format = format_
        self._desk = desk
        self._limit = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
            return
        started = monotonic()
        request_id: str = scope[REQUEST_ID]
        status = 499
        try:
            body = await read_body(scope, receive, self._limit)
            call = Call(
                endpoint=self._format.name,
                body=body,
                credential=credential(scope),
                client_ip=scope["client"][0] if scope.get("client") else "",
                client_request_id=header(scope, b"x-request-id")[:MAX_CLIENT_ID_CHARS],
                id=request_id,
            )
            status = await _carry(call, self._desk, self._format, receive, send)
        except ClientLeft:
            pass
        except RelayError as error:
            status = await _refuse(error, request_id, self._desk, send)
        except Exception:
            log.exception("call_failed request_id=%s endpoint=%s", request_id, self._format.name)
            status = 500
            problem = problems.internal_problem(request_id)
            await answer(send, 500, problem.body, headers=ids(request_id))
        finally:
            self._desk.figures.called(self._format.name, status, monotonic() - started)


async def _carry(call: Call, desk: Desk, format_: Format, receive: Receive, send: Send) -> int:
    """Relay a call to the client; the status that it got."""
    watch = _Watch(call, receive)
    head: Head | None = None
    try:
        async with aclosing(relay(call, desk, format_)) as parts:
            async for part in parts:
                if call.client_is_gone:
                    continue
                if isinstance(part, Head):
                    head = part
                    await send(
                        {"type": "http.response.start", "status": part.status, "headers": _headers(part, call.id)}
                    )
                elif part:
                    more = head is None or head.length is None
                    await send({"type": "http.response.body", "body": part, "more_body": more})
    except RelayError as error:
        if head is None:
            raise
        # The head is gone: say it inside the stream, where the official clients look for it.
        log.warning("stream_broken request_id=%s error=%s", call.id, error)
        problem = problems.openai_problem(error, call.id)
        await send({"type": "http.response.body", "body": sse.event(problem.body), "more_body": False})
        return 200
    finally:
        watch.cancel()
    if call.client_is_gone:
        return 499
    if head is None or head.length is None:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    return 200


def _headers(head: Head, request_id: str) -> list[tuple[bytes, bytes]]:
    raw = request_id.encode()
    headers = [
        (b"content-type", head.content_type.encode()),
        CORS,
        (b"x-request-id", raw),
        (b"x-oneapi-request-id", raw),
        *encoded(head.headers),
    ]
    if head.length is not None:
        headers.append((b"content-length", str(head.length).encode()))
    else:
        headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
    return headers


class _Watch:
    """Tells a call when its client leaves. It begins to look a moment after the call did: a call that is over by then needs no
    task of its own, and whoever left in between is noticed when it begins.
    """

    __slots__ = ("_call", "_receive", "_task", "_timer")

    def __init__(self, call: Call, receive: Receive) -> None:
        self._call = call
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._call.interrupt("client_left")

    def cancel(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


async def _refuse(error: RelayError, request_id: str, desk: Desk, send: Send) -> int:
    status = problems.status_of(error)
    desk.figures.refused(error.code)
    if isinstance(error, Interrupted):
        return status
    problem = problems.openai_problem(error, request_id)
    headers = [("access-control-allow-origin", "*"), *ids(request_id), *problem.headers]
    await answer(send, problem.status, problem.body, headers=headers)
    return status


def ids(request_id: str) -> list[tuple[str, str]]:
    return [("x-request-id", request_id), ("x-oneapi-request-id", request_id)]


def credential(scope: Scope) -> str:
    """The API key of a request: `Authorization`, with or without `Bearer`."""
    value = header(scope, b"authorization").strip()
    return value[7:].strip() if value[:7].lower() == "bearer " else value


def relay_routes(desk: Desk, *, body_limit_bytes: int) -> list[StarletteRoute]:
    """The endpoints of this release, each below `/v1`."""
    formats: tuple[Format, ...] = (OpenAIChat(), OpenAICompletions(), OpenAIEmbeddings())
    return [
        StarletteRoute(
            f"/v1{format_.path}",
            RelayEndpoint(format_, desk, body_limit_bytes=body_limit_bytes),
            methods=["POST", "OPTIONS"],
            name=format_.name,
        )
        for format_ in formats
    ]
