"""Server-sent events as bytes: split where a blank line ends one, bounded, whatever way the network cuts them.

Source: the WHATWG HTML standard, section 9.2 (event stream), read 2026-11: lines end with LF, CRLF or CR.
"""

from collections.abc import Iterator


class EventTooLarge(ValueError):
    """An event grew past its bound: upstream never ends it."""


class Splitter:
    """Feeds on chunks, gives whole events with their terminating blank line."""

    __slots__ = ("_kept", "_limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._kept = b""
        self._limit_bytes = limit_bytes

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Whole events that end in this chunk. Raises EventTooLarge."""
        data = self._kept + chunk if self._kept else chunk
        start = 0
        while True:
            end = _end_of_event(data, start)
            if end < 0:
                break
            if end - start > self._limit_bytes:
                raise EventTooLarge(f"an event of {end - start} bytes, the limit is {self._limit_bytes}")
            yield data[start:end]
            start = end
        self._kept = data[start:]
        if len(self._kept) > self._limit_bytes:
            raise EventTooLarge(f"an event of more than {self._limit_bytes} bytes")

    @property
    def is_empty(self) -> bool:
        """True between events."""
        return not self._kept

    def rest(self) -> bytes:
        """What came without an end: a last event whose blank line is missing, or nothing."""
        kept, self._kept = self._kept, b""
        return kept


def data_of(event: bytes) -> bytes:
    """The data of one event: its `data` lines joined by LF; b"" for comments and the like."""
    if event.startswith(b"data: ") and event.find(b"\n", 6) >= len(event) - 2:
        return event[6:].strip()
    lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


def event(data: bytes) -> bytes:
    """An event with one data line, which has no line end in it."""
    return b"data: " + data + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _end_of_event(data: bytes, start: int) -> int:
    end = data.find(b"\n\n", start)
    if b"\r" not in data:
        return end + 2 if end >= 0 else -1
    ends = [end + 2] if end >= 0 else []
    for blank in (b"\r\n\r\n", b"\r\r", b"\n\r\n"):
        found = data.find(blank, start)
        if found >= 0:
            ends.append(found + len(blank))
    return min(ends, default=-1)
