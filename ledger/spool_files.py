"""The files of the spool that one process has in charge: its own, and those it adopted from processes that died.

Records are appended to its own and drained from the oldest on. A file goes when everything in it was drained; a damaged one is
renamed then, and never deleted.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ledger.errors import SpoolFull
from ledger.spool_frames import IDENTITY_BYTES, Unreadable, decode
from ledger.spool_segment import SUFFIX, Segment, remove_unnamed

log = logging.getLogger("veloera.spool")

SEGMENT_BYTES = 4 * 1024 * 1024
UNKNOWN_LEDGER = bytes(IDENTITY_BYTES)
"""Of a ledger that had no facts yet: its files are anybody's."""


class Unread(NamedTuple):
    """What of a file was not drained yet."""

    segment: Segment
    payloads: list[bytes]
    end: int


class SpoolFiles:
    """Appending is one thread's work and draining another's; they meet here, and wait for each other's disk only."""

    def __init__(self, folder: Path, name: str, identity: bytes, *, limit_bytes: int, limit_records: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.limit_records = limit_records
        self.waiting = 0
        """Records that are durable and not drained."""
        self.oldest_at_ms = 0
        """When the oldest of them was kept; 0 while none waits."""
        self.damaged = 0
        """Stretches of bytes that were no record."""
        self._name = name
        self._identity = identity
        self._number = 0
        self._own_bytes = self._queued_bytes = self._queued_records = 0
        self._counting = threading.Lock()
        """Never held over the disk's work: the event loop takes it."""
        self._lock = threading.Lock()
        self._adopted: deque[Segment] = deque()
        self._own: deque[Segment] = deque()
        self._foreign: set[Path] = set()

    def open(self) -> None:
        """Make this process's own file. Raises OSError."""
        with self._lock:
            self._begin()

    def reserve(self, size_bytes: int) -> None:
        """Room for a record that is about to be appended. Raises SpoolFull."""
        with self._counting:
            there = self._own_bytes + self._queued_bytes
            if there + size_bytes > self.limit_bytes or self.waiting + self._queued_records >= self.limit_records:
                raise SpoolFull(
                    f"the spool keeps {self.waiting} records in {there} bytes, its limits are {self.limit_records} and "
                    f"{self.limit_bytes}"
                )
            self._queued_bytes += size_bytes
            self._queued_records += 1

    def append(self, frames: Sequence[bytes], at_ms: int) -> None:
        """Make records durable that room was reserved for, with one flush. Raises SpoolFull: then none was kept."""
        data = b"".join(frames)
        kept = 0
        try:
            with self._lock:
                self._writable().append(data)
                self.oldest_at_ms = self.oldest_at_ms or at_ms
            kept = 1
        except OSError as error:
            raise SpoolFull(f"the spool in {self.folder} cannot be written: {error}") from error
        finally:
            with self._counting:
                self._queued_bytes -= len(data)
                self._queued_records -= len(frames)
                self._own_bytes += kept * len(data)
                self.waiting += kept * len(frames)

    def adopt(self) -> int:
        """Take over the files of processes that died; how many records they had."""
        remove_unnamed(self.folder)
        adopted = 0
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            segment = Segment.adopted(path)
            if segment is None:
                continue
            if segment.identity not in (self._identity, None, UNKNOWN_LEDGER):
                self._leave(segment)
                continue
            try:
                adopted += self._take_over(segment)
            except OSError as error:
                # The next look tries again; the files of others are not held up by a disk that cannot read this one.
                log.error("spool_unreadable file=%s error=%s", path, error)
                segment.close()
        return adopted

    def oldest(self) -> Unread | None:
        """What waits in the oldest file that has something; None when nothing waits. Raises OSError."""
        failure: OSError | None = None
        with self._lock:
            for segment in (*self._adopted, *self._own):
                try:
                    if segment.drained < segment.end:
                        return self._unread(segment)
                except OSError as error:
                    failure = error
            if failure is not None:
                raise failure
            self.oldest_at_ms = 0
            return None

    def drained(self, records: int, next_at_ms: int) -> None:
        """So many more of what `oldest` answered were drained; the next was kept at `next_at_ms`, 0 when there is none."""
        with self._counting:
            self.waiting = max(0, self.waiting - records)
        if next_at_ms:
            self.oldest_at_ms = next_at_ms

    def finished(self, unread: Unread) -> None:
        """All that `oldest` answered was drained. A file that has nothing more goes, or begins anew."""
        segment = unread.segment
        with self._lock:
            segment.drained = unread.end
            if segment.drained < segment.end:
                return
            if segment in self._adopted:
                self._adopted.remove(segment)
            else:
                with self._counting:
                    self._own_bytes -= segment.size_bytes
                if not segment.is_damaged and segment.is_sound and segment is self._own[-1]:
                    segment.empty()
                    return
                self._own.remove(segment)
            _put_away(segment)

    def close(self) -> None:
        """Give the files away. What waits in them is adopted by the next process."""
        with self._lock:
            for segment in (*self._adopted, *self._own):
                if segment.drained >= segment.end and not segment.is_damaged:
                    segment.remove()
                segment.close()
            self._adopted.clear()
            self._own.clear()

    def _writable(self) -> Segment:
        """The file to append to: the last of our own, unless it is long enough or has failed."""
        last = self._own[-1] if self._own else None
        if last is not None and last.is_sound and not last.is_damaged and last.size_bytes < SEGMENT_BYTES:
            return last
        return self._begin()

    def _begin(self) -> Segment:
        self._number += 1
        segment = Segment.created(self.folder / f"{self._name}-{self._number:06d}{SUFFIX}", self._identity)
        self._own.append(segment)
        return segment

    def _unread(self, segment: Segment) -> Unread:
        found = segment.unread()
        damaged = found.damaged + ([(found.end, found.end + found.torn)] if found.torn else [])
        for start, end in damaged:
            self._tell_damage(segment, start, end)
        if found.records:
            self.oldest_at_ms = _kept_at(found.records[0])
        return Unread(segment, found.records, segment.drained + found.end + found.torn)

    def _take_over(self, segment: Segment) -> int:
        found = segment.unread()
        if found.torn:
            # Nobody was told that these bytes are kept: the process died, or its disk was full, while it wrote them.
            log.warning("spool_tail_cut file=%s bytes=%d", segment.path.name, found.torn)
            segment.end -= found.torn
        if segment.identity is None:
            self._tell_damage(segment, 0, 0)
        if not found.records and not found.damaged:
            _put_away(segment)
            return 0
        with self._counting:
            self.waiting += len(found.records)
        with self._lock:
            self._adopted.append(segment)
            if found.records:
                self.oldest_at_ms = min(self.oldest_at_ms or 1 << 62, _kept_at(found.records[0]))
        log.warning("spool_adopted file=%s records=%d", segment.path.name, len(found.records))
        return len(found.records)

    def _tell_damage(self, segment: Segment, start: int, end: int) -> None:
        segment.is_damaged = True
        self.damaged += 1
        log.error("spool_damaged file=%s from=%d bytes=%d", segment.path.name, segment.drained + start, end - start)

    def _leave(self, segment: Segment) -> None:
        if segment.path not in self._foreign:
            log.error("spool_of_another_ledger file=%s", segment.path)
            self._foreign.add(segment.path)
        segment.close()


def _put_away(segment: Segment) -> None:
    if segment.is_damaged:
        log.error("spool_set_aside file=%s", segment.set_aside().name)
    else:
        segment.remove()


def _kept_at(payload: bytes) -> int:
    try:
        return decode(payload).at_ms
    except Unreadable:
        return 0
