"""What a scripted upstream does with one call, as values: an answer, a stream, a lie, a silence.

A behaviour never knows which call it will meet; `upstream.py` plays it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Cut = Literal["fin", "reset"]
"""How a connection breaks: closed in good order, or torn down so that the reader sees an error."""

End = Literal["done", "fin", "reset", "hang"]
"""How a stream ends: framed to its end, closed without its end, torn down, or left open in silence."""


class Gate:
    """A door that a test opens from its own thread and a behaviour waits at in the upstream's loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def is_open(self) -> bool:
        return self._open

    def open(self) -> None:
        """Let everybody through, those who wait and those who come later."""
        with self._lock:
            self._open = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    async def passed(self) -> None:
        """Return once the gate is open."""
        event = asyncio.Event()
        with self._lock:
            if self._open:
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()


@dataclass(frozen=True)
class Answer:
    """One whole answer.

    `length_off_by` is added to the stated content length: above zero the body ends too early, below zero bytes follow
    that the length denies. `cut_at` breaks the connection after so many body bytes.
    """

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    after_s: float = 0.0
    gate: Gate | None = None
    length_off_by: int = 0
    cut_at: int | None = None
    cut: Cut = "fin"

    def held_at(self, gate: Gate) -> Answer:
        """The same answer, not begun before the gate opens."""
        return replace(self, gate=gate)

    def delayed(self, after_s: float) -> Answer:
        """The same answer, begun so many seconds after the request."""
        return replace(self, after_s=after_s)


@dataclass(frozen=True)
class Stream:
    """Server-sent events in their order; `gates[k]` is waited at before event k, `gap_s` before each but the first."""

    events: tuple[bytes, ...]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()
    gap_s: float = 0.0
    gates: Mapping[int, Gate] = field(default_factory=dict[int, Gate])
    ends: End = "done"

    def cut_after(self, events: int, ends: End = "reset") -> Stream:
        """The same stream, broken after so many events."""
        return replace(self, events=self.events[:events], ends=ends)

    def cut_at_byte(self, count: int, ends: End = "reset") -> Stream:
        """The same stream, broken after so many bytes of events, in the middle of one if it falls there."""
        kept: list[bytes] = []
        for event in self.events:
            kept.append(event[:count])
            count -= len(event)
            if count <= 0:
                break
        return replace(self, events=tuple(kept), ends=ends)

    def held_before(self, event: int, gate: Gate) -> Stream:
        """The same stream, stopped before that event until the gate opens."""
        return replace(self, gates={**self.gates, event: gate})

    def paced(self, gap_s: float) -> Stream:
        """The same stream with so many seconds between its events."""
        return replace(self, gap_s=gap_s)

    @property
    def size(self) -> int:
        """Bytes of all events."""
        return sum(len(event) for event in self.events)


@dataclass(frozen=True)
class Silence:
    """Never answers: says nothing at all, or sends the response head and then nothing."""

    after: Literal["request", "head"] = "request"
    content_type: str = "application/json"


@dataclass(frozen=True)
class Endless:
    """A body without an end: the same piece for as long as the reader takes it."""

    piece: bytes
    content_type: str = "application/json"
    gap_s: float = 0.0


@dataclass(frozen=True)
class Garbage:
    """Bytes that are no HTTP response, then the connection closes."""

    raw: bytes = b"\x00\x01 this is not HTTP\r\n\r\n"


@dataclass(frozen=True)
class Refusal:
    """Takes the request and tears the connection down without a byte."""


Behaviour = Answer | Stream | Silence | Endless | Garbage | Refusal
