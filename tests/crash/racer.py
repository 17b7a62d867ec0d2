"""A process that races others on one ledger: `python -m tests.crash.racer FOLDER MODE FIRST COUNT SEED`.

`hold` tries COUNT new holds of one size; `end` tries to end COUNT charges, each twice by settling and once by expiring it, in
any order. Waits for a line on its input, and prints what it was answered as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

from domain.commands import Command
from ledger.sqlite import SqliteStore
from ledger.writer import Writer
from tests.laws import calls

HELD_MILLS = 1_234
CLIENTS = 25


class Racer:
    """Answers counted by status, and how long each took."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.statuses: Counter[str] = Counter()
        self.took_s: list[float] = []

    async def run(self, commands: Iterable[Command]) -> None:
        waiting = iter(commands)
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(self._client(waiting))

    async def _client(self, waiting: Iterable[Command]) -> None:
        for command in waiting:
            started = perf_counter()
            result = await self._writer.submit(command)
            self.took_s.append(perf_counter() - started)
            self.statuses[result.status] += 1


def commands(mode: str, first: int, count: int, draw: random.Random) -> list[Command]:
    charges = [calls.charge(first + n) for n in range(count)]
    if mode == "hold":
        return [calls.hold(HELD_MILLS, charge) for charge in charges]
    settled, again = ([calls.settle(HELD_MILLS // 2, charge) for charge in charges] for _ in range(2))
    ending: list[Command] = [*settled, *again, *(calls.expire(charge) for charge in charges)]
    draw.shuffle(ending)
    return ending


def main(folder: Path, mode: str, first: int, count: int, seed: str) -> None:
    writer = Writer(SqliteStore(folder))
    racer = Racer(writer)
    batch = commands(mode, first, count, random.Random(seed))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    asyncio.run(racer.run(batch))
    writer.close()
    took_ms = sorted(1_000 * seconds for seconds in racer.took_s)
    told = {
        "statuses": racer.statuses,
        "p50_ms": took_ms[len(took_ms) // 2],
        "p99_ms": took_ms[len(took_ms) * 99 // 100],
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
