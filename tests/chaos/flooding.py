"""A process whose clients ask far more than its disk can do: `main(WHERE, COMMANDS)`. Says what was refused, and what it cost."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import monotonic
from uuid import uuid4

import msgspec

from domain.books import Result
from ledger.errors import QueueFull
from ledger.writer import Writer
from tests.crash.where import where
from tests.laws import calls


class Flood(msgspec.Struct, frozen=True):
    """What became of it."""

    asked: int
    refused: int
    """At once, because the queue was full."""
    held: int
    most_waiting: int
    limit: int
    longest_refusal_ms: float
    grown_mb: float
    """Resident memory, from before the flood to its height."""


async def flood(writer: Writer, asked: int) -> Flood:
    before_mb, refused, most, longest_s = resident_mb(), 0, 0, 0.0
    futures: list[asyncio.Future[Result]] = []
    for number in range(asked):
        began = monotonic()
        try:
            futures.append(writer.submit(calls.hold(1, uuid4().hex)))
        except QueueFull:
            refused += 1
            longest_s = max(longest_s, monotonic() - began)
        most = max(most, writer.waiting)
        if number % 1_000 == 0:
            await asyncio.sleep(0)
    grown_mb = resident_mb() - before_mb
    held = sum(result.ok for result in await asyncio.gather(*futures))
    return Flood(asked, refused, held, most, writer.queue_limit, 1_000 * longest_s, grown_mb)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1024 / 1024


def main(told: str, asked: str) -> None:
    store = where(told).open()
    writer = Writer(store)
    seen = asyncio.run(flood(writer, int(asked)))
    writer.close()
    store.close()
    sys.stdout.write(msgspec.json.encode(seen).decode())
