"""The client of one request, as a relay endpoint answers it: over plain ASGI, or over our own HTTP/1 engine without its messages."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from api.asgi import REQUEST_ID, Receive, Scope, Send, read_body
from relay.call import Credential

MAX_CLIENT_ID_CHARS = 128

Headers = Iterable[tuple[bytes, bytes]]


class Asker(NamedTuple):
    """What a request's headers say about who asks and how: read once for each head."""

    credential: Credential
    """`Authorization`, with or without `Bearer`."""
    request_id: str
    """The client's own name for its request; "" without one."""
    encoding: str
    """Of the body; "" for a plain one."""


class Client(Protocol):
    """One request's client. Its answer is either one `answer`, or `begin`, any number of `write` and one `finish`.

    Header lines are bytes with their line end, one header each.
    """

    @property
    def asker(self) -> Asker: ...

    @property
    def request_id(self) -> str:
        """The id that was given to the request already; "" without one."""
        ...

    @property
    def ip(self) -> str:
        """The address that it calls from; "" where there is none."""
        ...

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The one that serves it, where that is known."""
        ...

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body, decoded. Raises TooLarge, BadRequest, ClientLeft."""
        ...

    def watch(self, left: Callable[[], None]) -> None:
        """Call `left` when the client leaves, now if it has left already. Asked for once, after `body`."""
        ...

    def unwatch(self) -> None:
        """`left` is not called any more."""
        ...

    async def answer(self, status: int, lines: Sequence[bytes], body: bytes) -> None: ...

    async def begin(self, status: int, lines: Sequence[bytes]) -> None: ...

    async def write(self, piece: bytes) -> None:
        """Returns once the client takes more."""
        ...

    async def finish(self) -> None: ...

    @property
    def is_ready(self) -> bool:
        """The answer has begun, and the client takes more at once: `take` may be called."""
        ...

    def take(self, piece: bytes) -> None:
        """As `write`, without a wait."""
        ...


def asker_of(headers: Headers) -> Asker:
    """Of several values of a header the first one counts."""
    said = request_id = encoding = None
    for name, value in headers:
        if name == b"authorization":
            said = value if said is None else said
        elif name == b"x-request-id":
            request_id = value if request_id is None else request_id
        elif name == b"content-encoding":
            encoding = value if encoding is None else encoding
    return Asker(
        Credential(bare_key((said or b"").decode("latin-1"))),
        (request_id or b"").decode("latin-1")[:MAX_CLIENT_ID_CHARS],
        (encoding or b"").decode("latin-1").strip().lower(),
    )


def bare_key(authorization: str) -> str:
    """The API key in an `Authorization` header, with or without `Bearer`."""
    value = authorization.strip()
    return value[7:].strip() if value[:7].lower() == "bearer " else value


def lines_of(headers: Iterable[tuple[str, str]]) -> list[bytes]:
    """Header lines; characters that no header can hold become question marks."""
    return [f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in headers]


class AsgiClient:
    """A client over ASGI messages, whichever server carries them."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._watching: asyncio.Task[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.asker = asker_of(scope["headers"])
        self.request_id: str = scope[REQUEST_ID]
        self.ip: str = scope["client"][0] if scope.get("client") else ""

    async def body(self, limit_bytes: int) -> bytes:
        return await read_body(self._receive, limit_bytes, self._stated_bytes(), self.asker.encoding)

    def watch(self, left: Callable[[], None]) -> None:
        self._watching = asyncio.ensure_future(self._watch(left))

    def unwatch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def answer(self, status: int, lines: Sequence[bytes], body: bytes) -> None:
        await self.begin(status, [*lines, b"content-length: %d\r\n" % len(body)])
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, lines: Sequence[bytes]) -> None:
        pairs = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def finish(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def is_ready(self) -> bool:
        """ASGI has no way to send without a wait."""
        return False

    def take(self, piece: bytes) -> None:
        raise RuntimeError("nothing is taken by who is not ready")

    async def _watch(self, left: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        left()

    def _stated_bytes(self) -> int | None:
        stated = next((value for name, value in self._scope["headers"] if name == b"content-length"), b"")
        return int(stated) if stated.isdigit() else None
