"""The plain parts of ASGI that the hot path uses: bounded bodies, one answer in one message, a watch on the client.

Source: ASGI HTTP & Websocket message format 2.3 (read 2026-11).
"""

import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from relay.errors import BadRequest, TooLarge

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REQUEST_ID = "veloera.request_id"
MAX_CLIENT_ID_CHARS = 128


class ClientLeft(Exception):
    """The client closed the connection while its request was read."""


def header(scope: Scope, name: bytes) -> str:
    """The first value of a header; "" when it is not there. Names are lower case in ASGI."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body, decoded. Raises TooLarge, BadRequest, ClientLeft."""
    stated = header(scope, b"content-length")
    if stated.isdigit() and int(stated) > limit_bytes:
        raise _too_large(limit_bytes)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest(body, receive, limit_bytes)
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
    encoding = header(scope, b"content-encoding").strip().lower()
    return body if encoding in ("", "identity") else _decoded(body, encoding, limit_bytes)


async def _rest(first: bytes, receive: Receive, limit_bytes: int) -> bytes:
    chunks, size = [first], len(first)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _decoded(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BadRequest(f"content-encoding {encoding[:32]!r} is not taken; send the body plain or as gzip")
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = inflate.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not valid {encoding}: {error}") from None
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    if not inflate.eof:
        raise BadRequest(f"the {encoding} body ends too early")
    return plain


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"the request body is larger than {limit_bytes} bytes, the limit of this gateway")


async def answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: str = "application/json",
    headers: Iterable[tuple[str, str]] = (),
) -> None:
    """Send a whole answer."""
    raw = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode()), *encoded(headers)]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers]
