"""What waits in a folder of spool files, whoever has them in charge: read, and nothing is changed or locked for long."""

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

from ledger.spool_drain import REFUSED
from ledger.spool_frames import FILE_HEADER_BYTES, Unreadable, decode, scan
from ledger.spool_segment import DAMAGED_SUFFIX, SUFFIX


class SpoolFile(NamedTuple):
    """One file as it is now. A process that lives may have drained some of its records already."""

    name: str
    is_alive: bool
    """Whether a process has it in charge."""
    records: int
    size_bytes: int
    oldest_at_ms: int
    """0 when there is no record."""
    damaged_bytes: int


class Survey(NamedTuple):
    files: list[SpoolFile]
    refused: int
    """Records that the ledger will never take; they are in `refused.jsonl`, with the reasons."""
    set_aside: list[str]
    """Damaged files whose good records were drained."""


def survey(folder: Path) -> Survey:
    """Raises OSError."""
    files = [found for path in sorted(folder.glob(f"*{SUFFIX}")) if (found := _file(path)) is not None]
    refused = folder / REFUSED
    count = refused.read_bytes().count(b"\n") if refused.is_file() else 0
    return Survey(files, count, sorted(path.name for path in folder.glob(f"*{DAMAGED_SUFFIX}")))


def _file(path: Path) -> SpoolFile | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None  # drained between the look at the folder and this one
    with os.fdopen(fd, "rb") as file:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_alive = False
            fcntl.flock(fd, fcntl.LOCK_UN)
        except BlockingIOError:
            is_alive = True
        data = file.read()
    found = scan(data[FILE_HEADER_BYTES:])
    damaged_bytes = sum(end - start for start, end in found.damaged)
    oldest_at_ms = _kept_at(found.records[0]) if found.records else 0
    return SpoolFile(path.name, is_alive, len(found.records), len(data), oldest_at_ms, damaged_bytes)


def _kept_at(payload: bytes) -> int:
    try:
        return decode(payload).at_ms
    except Unreadable:
        return 0
