"""The relay's routes: raw ASGI, bytes in and bytes out. No dependency, no model, no middleware but the request id."""

import logging
from collections.abc import Mapping
from functools import cache
from time import monotonic

from starlette.routing import Route as StarletteRoute

from api import problems
from api.asgi import ClientLeft, Receive, Scope, Send
from api.client import AsgiClient, Client, lines_of
from relay import sse
from relay.call import Call, new_request_id
from relay.desk import Desk
from relay.errors import Interrupted, RelayError
from relay.format import Format
from relay.formats.openai_chat import OpenAIChat
from relay.formats.openai_completions import OpenAICompletions
from relay.formats.openai_embeddings import OpenAIEmbeddings
from relay.relay import JSON, Head, relay
from relay.streaming import Stream

log = logging.getLogger("veloera.relay")

JSON_LINE = b"content-type: application/json\r\n"
CORS_LINE = b"access-control-allow-origin: *\r\n"
STREAM_LINES = (b"cache-control: no-cache\r\n", b"x-accel-buffering: no\r\n")

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
        self.name = format_.name
        self._format = format_
        self._desk = desk
        self._limit = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As a route of the application."""
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self.serve(AsgiClient(scope, receive, send))

    async def serve(self, client: Client) -> None:
        started = monotonic()
        request_id = client.request_id or new_request_id()
        status = 499
        try:
            body = await client.body(self._limit)
            asker = client.asker
            call = Call(
                endpoint=self._format.name,
                body=body,
                credential=asker.credential,
                client_ip=client.ip,
                client_request_id=asker.request_id,
                id=request_id,
                task=client.task,
            )
            call.client = client
            status = await _carry(call, self._desk, self._format, client)
        except ClientLeft:
            pass
        except RelayError as error:
            status = await _refuse(error, request_id, self._desk, client)
        except Exception:
            log.exception("call_failed request_id=%s endpoint=%s", request_id, self._format.name)
            status = 500
            problem = problems.internal_problem(request_id)
            await client.answer(500, [JSON_LINE, *_ids(request_id)], problem.body)
        finally:
            self._desk.figures.called(self._format.name, status, monotonic() - started)


async def _carry(call: Call, desk: Desk, format_: Format, client: Client) -> int:
    """Relay a call to the client; the status that it got."""
    try:
        reply = await relay(call, desk, format_)
        if reply.stream is not None:
            return await _pass_on(call, reply.head, reply.body, reply.stream, client)
    finally:
        client.unwatch()
        call.over()
    if call.client_is_gone:
        return 499
    head = reply.head
    lines = [_type_line(head.content_type), CORS_LINE, *_ids(call.id)]
    if head.content_type != JSON:
        lines += STREAM_LINES
    if head.headers:
        lines += lines_of(head.headers)
    await client.answer(head.status, lines, reply.body)
    return head.status


async def _pass_on(call: Call, head: Head, first: bytes, stream: Stream, client: Client) -> int:
    """A stream, piece by piece. A client that has left is written to no more; what is owed for it is still settled."""
    try:
        if not call.client_is_gone:
            lines = [_type_line(head.content_type), CORS_LINE, *_ids(call.id), *STREAM_LINES, *lines_of(head.headers)]
            await client.begin(head.status, lines)
            if first:
                await client.write(first)
        while (piece := await stream.more(client)) is not None:
            if piece and not call.client_is_gone:
                await client.write(piece)
    except RelayError as error:
        # The head is gone: say it inside the stream, where the official clients look for it.
        log.warning("stream_broken request_id=%s error=%s", call.id, error)
        if not call.client_is_gone:
            await client.write(sse.event(problems.openai_problem(error, call.id).body))
    finally:
        await stream.end()
    if call.client_is_gone:
        return 499
    await client.finish()
    return head.status


async def _refuse(error: RelayError, request_id: str, desk: Desk, client: Client) -> int:
    status = problems.status_of(error)
    desk.figures.refused(error.code)
    if isinstance(error, Interrupted):
        return status
    problem = problems.openai_problem(error, request_id)
    lines = [JSON_LINE, CORS_LINE, *_ids(request_id), *lines_of(problem.headers)]
    await client.answer(problem.status, lines, problem.body)
    return status


def _ids(request_id: str) -> tuple[bytes, bytes]:
    raw = request_id.encode()
    return b"x-request-id: %b\r\n" % raw, b"x-oneapi-request-id: %b\r\n" % raw


@cache
def _type_line(content_type: str) -> bytes:
    return b"content-type: %b\r\n" % content_type.encode()


def relay_endpoints(desk: Desk, *, body_limit_bytes: int) -> dict[str, RelayEndpoint]:
    """The endpoints of this release by path, each below `/v1`."""
    formats: tuple[Format, ...] = (OpenAIChat(), OpenAICompletions(), OpenAIEmbeddings())
    return {
        f"/v1{format_.path}": RelayEndpoint(format_, desk, body_limit_bytes=body_limit_bytes) for format_ in formats
    }


def relay_routes(endpoints: Mapping[str, RelayEndpoint]) -> list[StarletteRoute]:
    return [
        StarletteRoute(path, endpoint, methods=["POST", "OPTIONS"], name=endpoint.name)
        for path, endpoint in endpoints.items()
    ]
