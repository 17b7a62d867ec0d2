"""The heads of one connection: a client that stays says the same head again, but for the length of its body, and is read once.

What is compared is every byte, so a head that is taken as read is one that the parser would read the same way.
"""

import re

import msgspec

from api.http1.head import Head, read_head
from api.http1.limits import Limits

MAX_KEPT_BYTES = 4096
"""A longer head is not kept."""
MAX_DIGITS = 18
"""Of a body's length, as the parser takes it."""

_LENGTH = re.compile(rb"\r\n(content-length):[ \t]*([0-9]{1,18})\r\n", re.IGNORECASE)


class Heads:
    """Reads heads as `read_head` does, and keeps the last one."""

    __slots__ = ("_after", "_before", "_head", "_length_at", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._head: Head | None = None
        self._before = self._after = b""
        self._length_at = -1
        """Which header has the length; -1 for a head without one, which is `_before` whole."""

    def read(self, raw: bytes) -> Head:
        """Raises Refused."""
        head = self._head
        if head is not None:
            if self._length_at < 0:
                if raw == self._before:
                    return msgspec.structs.replace(head, headers=head.headers.copy())
            elif raw.startswith(self._before) and raw.endswith(self._after) and len(raw) <= MAX_KEPT_BYTES:
                digits = raw[len(self._before) : len(raw) - len(self._after)]
                if 1 <= len(digits) <= MAX_DIGITS and digits.isdigit():
                    return self._again(head, digits)
        head = read_head(raw, self._limits)
        self._keep(raw, head)
        return head

    def _again(self, head: Head, digits: bytes) -> Head:
        headers = head.headers.copy()
        headers[self._length_at] = (b"content-length", digits)
        return Head(
            head.method,
            head.target,
            head.http_version,
            headers,
            head.host,
            int(digits),
            head.keeps_alive,
            head.expects_continue,
            head.upgrade,
            head.asker,
        )

    def _keep(self, raw: bytes, head: Head) -> None:
        """Of a head that was read: its length stands in at most one line, and no line is folded."""
        self._head = None
        if len(raw) > min(MAX_KEPT_BYTES, self._limits.head_bytes):
            return
        self._length_at = next((at for at, (name, _) in enumerate(head.headers) if name == b"content-length"), -1)
        if self._length_at < 0:
            self._before = raw
        else:
            found = _LENGTH.search(raw)
            if found is None:
                return
            self._before, self._after = raw[: found.start(2)], raw[found.end(2) :]
        self._head = head
