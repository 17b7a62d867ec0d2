"""An answer as its reader sees it. The connection fills it; a reader that stops waiting closes the connection.

A whole answer frees its connection before it is read: what is buffered here belongs to nobody else.
"""

import asyncio
from collections.abc import ItemsView, Iterator, Mapping
from typing import Final, Protocol, TypeVar, overload

from relay.errors import UpstreamCut, UpstreamUnreachable
from relay.lean.decoding import Decoder
from relay.upstream import AnswerTooLarge, Tap

HIGH_WATER_BYTES = 256 * 1024
MAX_NAMES = 512

_HEAD: Final = 0
_SOME: Final = 1
_WHOLE: Final = 2

T = TypeVar("T")
Failure = UpstreamCut | UpstreamUnreachable

_names: dict[bytes, str] = {}


class Link(Protocol):
    """What an answer asks of its connection."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def discard(self) -> None:
        """Close it, whatever it was doing. May be called twice."""
        ...


class Headers(Mapping[str, str]):
    """A head's fields: names are found in any case and listed in lower case. Values that come several times are joined by commas."""

    __slots__ = ("by_name", "fields")

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.fields = fields
        """As they came."""
        self.by_name: dict[str, str] = {}
        """By their names in lower case."""
        values = self.by_name
        for raw, value in fields:
            name = _names.get(raw) or _lower(raw)
            text = value.decode("latin-1").rstrip(" \t")
            values[name] = f"{values[name]}, {text}" if name in values else text

    def __getitem__(self, name: str) -> str:
        return self.by_name[name.lower()]

    @overload
    def get(self, name: str, /) -> str | None: ...

    @overload
    def get(self, name: str, /, default: str) -> str: ...

    @overload
    def get(self, name: str, /, default: T) -> str | T: ...

    def get(self, name: str, /, default: T | None = None) -> str | T | None:
        return self.by_name.get(name.lower(), default)

    def items(self) -> ItemsView[str, str]:
        return self.by_name.items()

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)


def _lower(raw: bytes) -> str:
    """Names are few, and looked up often: they are kept, within a bound."""
    name = raw.decode("latin-1").lower()
    if len(_names) < MAX_NAMES and len(raw) <= 64:
        _names[raw] = name
    return name


_NONE_YET = Headers([])


class LeanAnswer:
    """A provider's answer, its head read. One reader at a time."""

    __slots__ = (
        *("_decoder", "_error", "_link", "_loop", "_tap", "_waiter", "_wanted", "bound", "buffered", "chunks"),
        *("ended", "headers", "is_paused", "length", "status"),
    )

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers = _NONE_YET
        self.length = -1
        """Stated bytes of the body as it travels; -1: not stated."""
        self.chunks: list[bytes] = []
        self.buffered = 0
        """Bytes in `chunks`."""
        self.bound = HIGH_WATER_BYTES
        """How much may be buffered before `overflowed` is told."""
        self.ended = False
        """Nothing more will come: the body is whole, or it broke."""
        self._error: Failure | None = None
        self._link = link
        self._loop = loop  # asking for the running one is a system call in Python 3.11
        self._decoder: Decoder | None = None
        self.is_paused = False
        self._wanted = _HEAD
        self._waiter: asyncio.Future[None] | None = None
        self._tap: Tap | None = None

    async def opened(self) -> None:
        """Wait for the head. Raises UpstreamCut, UpstreamUnreachable."""
        if not self.status and not self.ended:
            await self._wait(_HEAD)
        if not self.status:
            raise self._error or UpstreamCut("the provider closed before it answered")

    async def read(self, limit_bytes: int) -> bytes:
        """The rest of the body, at most so much once decoded. Raises UpstreamCut, AnswerTooLarge."""
        if self.length > limit_bytes:
            self.close()
            raise AnswerTooLarge(f"upstream states an answer of {self.length} bytes, the limit is {limit_bytes}")
        if self._decoder is not None:
            return await self._read_decoded(self._decoder, limit_bytes)
        if not self.ended:
            self.bound = limit_bytes
            self._resume()
            await self._wait(_WHOLE)
        if self._error is not None:
            raise self._error
        if self.buffered > limit_bytes:
            raise _too_large(limit_bytes)
        return self._taken()

    async def read_some(self, tap: Tap | None = None) -> bytes:
        """All that has come and was not read yet, once there is any; b"" at the end. Raises UpstreamCut.

        While it waits, `tap` is shown what comes, and the wait goes on where it took that. Encoded bytes it is not shown.
        """
        if self._decoder is not None:
            return await self._read_some_decoded(self._decoder)
        if not self.buffered and not self.ended:
            await self._wait(_SOME, tap)
        if self.buffered:
            return self._taken()
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        """Done with it: a connection that was not read to its end is closed."""
        if not self.ended:
            self.fail(UpstreamCut("the answer was closed before its end"))
            self._link.discard()

    def begin(self, status: int, headers: Headers, decoder: Decoder | None) -> None:
        """The head has come."""
        self.status = status
        self.headers = headers
        self._decoder = decoder

    def fail(self, error: Failure) -> None:
        """It broke. What came before is still read first."""
        self._error = error
        self.ended = True
        self.wake()

    def overflowed(self) -> None:
        """More is buffered than may be: too large for a reader of the whole; another one gets time."""
        if self._wanted == _WHOLE:
            self.fail(_too_large(self.bound))
            self._link.discard()
        else:
            self.is_paused = True
            self._link.pause()

    def wake(self) -> None:
        """Let the reader go on, if what it waits for is there."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        tap = self._tap
        if tap is not None and self.buffered and not self.ended:
            chunks = self.chunks
            if tap(chunks[0] if len(chunks) == 1 else b"".join(chunks)):
                chunks.clear()
                self.buffered = 0
                self._resume()
                return
        if self.ended or (self._wanted == _HEAD and self.status) or (self._wanted == _SOME and self.buffered):
            waiter.set_result(None)

    async def _wait(self, wanted: int, tap: Tap | None = None) -> None:
        assert self._waiter is None, "an answer has one reader at a time"
        self._wanted = wanted
        self._tap = tap
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = self._tap = None

    def _taken(self) -> bytes:
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.buffered = 0
        if self.is_paused:
            self._resume()
        return data

    def _resume(self) -> None:
        if self.is_paused and not self.ended:
            self._link.resume()
        self.is_paused = False

    async def _read_decoded(self, decoder: Decoder, limit_bytes: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        try:
            while piece := await self._read_some_decoded(decoder):
                size += len(piece)
                if size > limit_bytes:
                    raise _too_large(limit_bytes)
                pieces.append(piece)
                # There may be many pieces without a wait between them, and others wait for this loop.
                await asyncio.sleep(0)
        except BaseException:
            self.close()
            raise
        return b"".join(pieces)

    async def _read_some_decoded(self, decoder: Decoder) -> bytes:
        while True:
            try:
                piece = decoder.take()
            except UpstreamCut as error:
                self.close()
                self._error = error
                raise
            if piece:
                return piece
            if self.buffered:
                decoder.feed(self._taken())
            elif self.ended:
                self._end_decoded(decoder)
                return b""
            else:
                await self._wait(_SOME)

    def _end_decoded(self, decoder: Decoder) -> None:
        if self._error is None and not decoder.is_whole:
            self._error = UpstreamCut("the answer ended in the middle of its coding")
        if self._error is not None:
            raise self._error


def _too_large(limit_bytes: int) -> AnswerTooLarge:
    return AnswerTooLarge(f"an answer of more than {limit_bytes} bytes")
