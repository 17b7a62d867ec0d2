"""A client that hangs up in the middle: a raw socket, so that the moment is the test's and not a library's."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit


def hang_up(url: str, key: str, body: Mapping[str, object], *, after_events: int, first: Callable[[], object]) -> bytes:
    """Post `body` to `url`, read so many server-sent events, wait for `first`, close; the bytes that came.

    With no events to wait for nothing is read. `first` is called just before closing: there a test waits until the
    upstream has got the call.

    Raises:
        ConnectionError: the answer ended before so many events.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None, f"expected an absolute URL, got {url!r}"
    payload = json.dumps(body).encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    came = b""
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as client:
        client.sendall(head.encode() + payload)
        while came.count(b"data: ") < after_events or (after_events and not came.endswith(b"\n\r\n")):
            part = client.recv(65536)
            if not part:
                raise ConnectionError(f"the answer ended before {after_events} events: {came[-300:]!r}")
            came += part
        first()
    return came
