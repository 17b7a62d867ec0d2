"""A node's spool: a disk that outlives its process. What it says is kept, is kept; it may say that it is full."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from domain.books import Result
from ledger.errors import SpoolFull
from ledger.spool import KEPT
from ledger.spool_drain import Refusal
from ledger.spool_frames import End, encode
from tests.simulator.faults import Breach

if TYPE_CHECKING:
    from tests.simulator.node import Process

FLUSH_MS = 3


class Unread(NamedTuple):
    payloads: list[bytes]


class Disk:
    """What of a node a crash leaves."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []


class Files:
    """A disk as the drainer sees its files. What one process has drained and not finished, the next one drains again."""

    folder = Path()

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def oldest(self) -> Unread | None:
        return Unread(list(self._disk.kept)) if self._disk.kept else None

    def drained(self, count: int, oldest_at_ms: int) -> None:
        """What counts here is what is left."""

    def finished(self, unread: Unread) -> None:
        del self._disk.kept[: len(unread.payloads)]


class NothingIsRefused:
    """In the place of the file of records that the ledger will never take: there must be none."""

    def add(self, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            raise Breach(f"the ledger will never take an end that was kept: {refusal.reason}")


class Keeper:
    """The spool of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def keep(self, command: End) -> Future[Result]:
        """Raises SpoolFull."""
        kept: Future[Result] = Future()
        process = self._process
        if process.alive:
            if process.world.faults.strikes("spool_full"):
                raise SpoolFull("the disk is full")
            payload = encode(command, process.node.clock.now_ms())
            process.world.loop.call_later(FLUSH_MS / 1000, self._flushed, payload, kept)
        return kept

    def _flushed(self, payload: bytes, kept: Future[Result]) -> None:
        if self._process.alive:
            self._process.node.disk.kept.append(payload)
            kept.set_result(KEPT)
