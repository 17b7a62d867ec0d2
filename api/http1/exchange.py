"""One request and its answer, as the app sees them: the ASGI scope, `receive` and `send`, or an `api.client.Client` without these.

The answer's head waits for the first of its body, so that both go out in one write; a failure before that is still a 500.
Source: ASGI HTTP message format 2.1, the version that hypercorn 0.18 states; its order of messages and its errors are hypercorn's.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import time
from typing import Any, Protocol
from urllib.parse import unquote

from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.utils import UnexpectedMessageError

from api.asgi import Message, read_body
from api.client import Asker
from api.http1.answer import CONTINUE, LAST_CHUNK, AnswerHead, answer_head, stream_head, whole_head
from api.http1.errors import AnswerTooLong, AnswerTooShort
from api.http1.head import Head
from api.http1.outflow import TOGETHER_BYTES, Outflow
from api.http1.worker import Worker

Address = tuple[str, int] | None


class Wire(Protocol):
    """What an exchange needs of its connection."""

    scheme: str
    client: Address
    server: Address

    @property
    def out(self) -> Outflow:
        """The way to the client."""
        ...

    @property
    def ends(self) -> bool:
        """No request can follow this one."""
        ...

    def body_taken(self) -> None:
        """The app took what had come of its body."""
        ...

    def answered(self, exchange: "Exchange") -> None:
        """The last byte of the answer is written."""
        ...

    def broken(self) -> None:
        """The answer cannot be completed: the client must see that."""
        ...

    def left(self, exchange: "Exchange") -> None:
        """The app has returned."""
        ...


class Exchange:
    """Made when a head is complete; its `run` is the request's task."""

    __slots__ = (
        "_answer",
        "_asker",
        "_body",
        "_body_ended",
        "_body_told",
        "_gone",
        "_head",
        "_left",
        "_left_told",
        "_out",
        "_start",
        "_state",
        "_waiters",
        "_wire",
        "_worker",
        "begun",
        "ip",
        "queued_bytes",
        "request_id",
        "task",
        "wants_continue",
    )

    def __init__(self, wire: Wire, worker: Worker, head: Head) -> None:
        self._wire = wire
        self._out = wire.out
        self._worker = worker
        self._head = head
        self.request_id = ""
        """For an endpoint that is asked directly to choose."""
        self.ip = wire.client[0] if wire.client else ""
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """Something of the answer was written."""
        self.wants_continue = head.expects_continue and head.body_length != 0
        self.queued_bytes = 0
        self._body: list[bytes] = []
        self._body_ended = head.body_length == 0
        self._body_told = False
        self._gone = False
        self._waiters: list[asyncio.Future[None]] = []
        self._state = ASGIHTTPState.REQUEST
        self._start: Message | None = None
        self._left_told: Callable[[], None] | None = None
        self._answer: AnswerHead | None = None
        self._left = 0

    @property
    def complete(self) -> bool:
        """The answer is written to its last byte."""
        return self._state is ASGIHTTPState.CLOSED

    @property
    def closes(self) -> bool:
        """The client was told that the connection ends with this answer."""
        return self._answer is None or self._answer.closes

    async def run(self) -> None:
        """Carry the request through the app. Whatever it raises is logged; nobody awaits it."""
        worker, head, began_s = self._worker, self._head, time()
        try:
            if worker.counts_requests:
                await worker.context.mark_request()
            direct = worker.direct(head.method, head.target)
            if direct is not None:
                await direct(self)
            else:
                await worker.app(self._scope(), self.receive, self.send, worker.sync_spawn, worker.call_soon)
        except Exception:  # noqa: BLE001  # the app's fault, of whatever kind, is one connection's end and not the server's
            await worker.config.log.exception("Error in ASGI Framework")
        finally:
            self._wire.left(self)
            if worker.logs_access:
                await worker.config.log.access(self._scope(), self._start, time() - began_s)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def put(self, data: bytes) -> None:
        """More of the request's body has come."""
        self.wants_continue = False
        self.queued_bytes += len(data)
        self._body.append(data)
        self._wake()

    def end_body(self) -> None:
        """The request's body is complete."""
        self.wants_continue = False
        self._body_ended = True
        self._wake()

    def disconnect(self) -> None:
        """The client has ended its side, or this request is given up: the app is told."""
        self._gone = True
        self._wake()
        told, self._left_told = self._left_told, None
        if told is not None:
            told()

    @property
    def asker(self) -> Asker:
        return self._head.asker

    async def body(self, limit_bytes: int) -> bytes:
        """As api.client.Client. Raises TooLarge, BadRequest, ClientLeft."""
        if (
            self._body_ended
            and not self._body_told
            and not self._head.asker.encoding
            and self.queued_bytes <= limit_bytes
        ):
            return self._whole_body()
        return await read_body(self.receive, limit_bytes, self._head.body_length, self._head.asker.encoding)

    def watch(self, left: Callable[[], None]) -> None:
        if self._gone:
            left()
        else:
            self._left_told = left

    def unwatch(self) -> None:
        self._left_told = None

    async def answer(self, status: int, lines: Sequence[bytes], body: bytes) -> None:
        """All of it in one write. Raises BadAnswerHead, UnexpectedMessageError."""
        self._start_with(whole_head(status, lines, len(body), self._worker.dated(), closes=self._must_close))
        self._finish(body)

    async def begin(self, status: int, lines: Sequence[bytes]) -> None:
        """Raises BadAnswerHead, UnexpectedMessageError."""
        self._start_with(stream_head(status, lines, self._head, self._worker.dated(), closes=self._must_close))

    async def write(self, piece: bytes) -> None:
        """Raises UnexpectedMessageError."""
        answer = self._under_way("write")
        data = answer.framed(piece)
        if not self.begun:
            data = self._begun(answer, data)
        self._out.write_soon(data)
        if self._out.blocked:
            await self._out.writable()
        elif self._gone:
            await asyncio.sleep(0)

    @property
    def is_ready(self) -> bool:
        return self.begun and not self._gone and not self._out.blocked and self._state is ASGIHTTPState.RESPONSE

    def take(self, piece: bytes) -> None:
        answer = self._answer
        assert answer is not None, "taken while `is_ready` only"
        self._out.write(answer.framed(piece))

    async def finish(self) -> None:
        """Raises UnexpectedMessageError."""
        self._finish(LAST_CHUNK if self._under_way("finish").chunked else b"")

    @property
    def _must_close(self) -> bool:
        return not self._body_ended or not self._head.keeps_alive or self._wire.ends

    def _under_way(self, asked: str) -> AnswerHead:
        """The head of the answer that has begun and goes on. Raises UnexpectedMessageError."""
        if self._answer is None or self._state is not ASGIHTTPState.RESPONSE:
            raise UnexpectedMessageError(self._state, asked)
        return self._answer

    def _start_with(self, answer: AnswerHead) -> None:
        if self._state is not ASGIHTTPState.REQUEST:
            raise UnexpectedMessageError(self._state, "begin")
        self._answer = answer
        self._state = ASGIHTTPState.RESPONSE

    def _finish(self, data: bytes) -> None:
        answer = self._answer
        assert answer is not None, "an answer is finished after it was begun"
        self._out.write(data if self.begun else self._begun(answer, data))
        self._state = ASGIHTTPState.CLOSED
        self._wire.answered(self)

    def _scope(self) -> dict[str, Any]:
        return scope_of(self._head, self._worker, self._wire)

    async def receive(self) -> Message:
        """What has come of the body, whole where it is; then `http.disconnect`, once the client leaves or is answered."""
        if self.wants_continue and not self.begun:
            self.wants_continue = False
            self._out.write(CONTINUE)
            self._wire.body_taken()
        while True:
            if self.complete:
                return {"type": "http.disconnect"}
            if self._body or (self._body_ended and not self._body_told):
                return self._take_body()
            if self._gone:
                return {"type": "http.disconnect"}
            await self._news()

    async def send(self, message: Message) -> None:
        """Write what the app answers; waits while the client takes nothing.

        Raises UnexpectedMessageError, BadAnswerHead, AnswerTooLong, AnswerTooShort.
        """
        kind, state = message["type"], self._state
        if kind == "http.response.body" and state is ASGIHTTPState.RESPONSE:
            self._send_body(message)
            if self._out.blocked:
                await self._out.writable()
            elif self._gone:
                await asyncio.sleep(0)
            if self._state is ASGIHTTPState.CLOSED:
                self._wire.answered(self)
        elif kind == "http.response.start" and state is ASGIHTTPState.REQUEST:
            self._start = message
            self._answer = answer_head(
                int(message["status"]),
                message.get("headers", ()),
                self._head,
                self._worker.dated(),
                closes=self._must_close,
            )
            self._left = self._answer.length or 0
            self._state = ASGIHTTPState.RESPONSE
        else:
            raise UnexpectedMessageError(state, kind)

    def _send_body(self, message: Message) -> None:
        answer = self._answer
        assert answer is not None, "a body is sent in the state that a head leads to"
        body: bytes = message.get("body", b"")
        if type(body) is not bytes:
            body = bytes(body)
        more: bool = message.get("more_body", False)
        if answer.chunked:
            data = answer.framed(body)
            if not more:
                data += LAST_CHUNK
        elif answer.bodiless:
            data = b""
        elif answer.length is None:
            data = body
        else:
            data = self._counted(body, more=more)
        if not self.begun:
            data = self._begun(answer, data)
        if more:
            if data:
                self._out.write_soon(data)
            return
        self._out.write(data)
        self._state = ASGIHTTPState.CLOSED

    def _begun(self, answer: AnswerHead, data: bytes) -> bytes:
        """What the answer begins with: its head and the first of its body."""
        self.begun = True
        if len(data) < TOGETHER_BYTES:
            return answer.data + data
        self._out.write_soon(answer.data)
        return data

    def _counted(self, body: bytes, *, more: bool) -> bytes:
        """The body, as long as it was promised. Raises AnswerTooLong, AnswerTooShort."""
        self._left -= len(body)
        if self._left >= 0 and (more or not self._left):
            return body
        answer, left = self._answer, self._left
        assert answer is not None, "as in _send_body"
        promised = body[:left] if left < 0 else body
        self._out.write(promised if self.begun else self._begun(answer, promised))
        self._wire.broken()
        stated = f"expected {answer.length} bytes as content-length says"
        raise AnswerTooLong(f"{stated}, got {-left} more") if left < 0 else AnswerTooShort(f"{stated}, got {left} less")

    def _take_body(self) -> Message:
        return {"type": "http.request", "body": self._whole_body(), "more_body": not self._body_ended}

    def _whole_body(self) -> bytes:
        """All that has come of it and was not taken yet."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.queued_bytes = 0
        self._body_told = self._body_ended
        self._wire.body_taken()
        return body

    async def _news(self) -> None:
        waiter = self._worker.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


def scope_of(head: Head, worker: Worker, wire: Wire) -> dict[str, Any]:
    """The ASGI scope, key by key as hypercorn gives it."""
    path, _, query = head.target.partition(b"?")
    text = path.decode("ascii")
    return {
        "type": "http",
        "http_version": head.http_version,
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": head.method,
        "scheme": wire.scheme,
        "path": unquote(text) if "%" in text else text,
        "raw_path": path,
        "query_string": query,
        "root_path": worker.config.root_path,
        "headers": head.headers,
        "client": wire.client,
        "server": wire.server,
        "state": worker.state.copy(),
        "extensions": {},
    }
