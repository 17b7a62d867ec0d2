"""One small seam to the providers: open a request, read its answer, leave. Nothing above knows which client carries it.

Waits are ended by the call (see call.py), so no timer is made here; a connection is closed unless its answer was read to the end.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

import msgspec

from relay.errors import UpstreamCut

MAX_HEADER_BYTES = 16 * 1024
"""Of one answer's head."""


class AnswerTooLarge(UpstreamCut):
    """An answer grew past the bound of the gateway."""


class Outgoing(msgspec.Struct, frozen=True):
    """One request to a provider."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    proxy: str = ""


Tap = Callable[[bytes], bool]
"""Shown bytes as they come, in the middle of reading them: true when it took them, and they are not to be read any more. It never waits
and never raises."""


class Answer(Protocol):
    """A provider's answer, its head read."""

    status: int

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises UpstreamCut, AnswerTooLarge."""
        ...

    async def read_some(self, tap: Tap | None = None) -> bytes:
        """The next bytes, b"" at the end. Raises UpstreamCut.

        While it waits, `tap` may be shown what comes first.
        """
        ...

    def close(self) -> None:
        """Done with it: a connection that was not read to its end is closed. May be called twice."""
        ...


class Sending:
    """Whether a request has left: from then on the provider may charge for it."""

    __slots__ = ("whole",)

    def __init__(self) -> None:
        self.whole = False


NOTHING_SENT = Sending()
"""Of a call that no attempt was made for."""


class Upstream(Protocol):
    def open(self, request: Outgoing, sending: Sending) -> Coroutine[object, object, Answer]:
        """Send a request and read the answer's head. Raises UpstreamUnreachable (at once, or when awaited), UpstreamCut."""
        ...

    async def close(self) -> None: ...
