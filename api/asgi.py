"""The plain parts of ASGI that the hot path uses: its types, and bodies within their bound.

Source: ASGI HTTP & Websocket message format 2.3 (read 2026-11).
"""

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from relay.errors import BadRequest, TooLarge

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REQUEST_ID = "veloera.request_id"


class ClientLeft(Exception):
    """The client closed the connection while its request was read."""


async def read_body(receive: Receive, limit_bytes: int, stated_bytes: int | None, encoding: str) -> bytes:
    """The whole body, decoded. Raises TooLarge, BadRequest, ClientLeft."""
    if stated_bytes is not None and stated_bytes > limit_bytes:
        raise _too_large(limit_bytes)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest(body, receive, limit_bytes)
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
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
