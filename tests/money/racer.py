"""A process that races others on one ledger, job after job: `python -m tests.money.racer`.

A job is a line of JSON: where the ledger is, and items of work. It says `ready`, waits for a line, carries the items out with many
clients at once, and says in one line what it was answered, by status.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from domain.commands import Command
from ledger.writer import Writer
from tests.laws import calls
from tests.ledger.places import opened

CLIENTS = 25
HELD_MILLS = 1_234
COST_MILLS = 617

Item = tuple[str, int]
"""What to do, and to which call, user or task."""


def commands(item: Item) -> tuple[Command, ...]:
    """The commands of one item, each sent when the one before it was answered."""
    kind, number = item
    match kind:
        case "hold":
            return (calls.hold(HELD_MILLS, calls.charge(number)),)
        case "settle":
            return (calls.settle(COST_MILLS, calls.charge(number)),)
        case "expire":
            return (calls.expire(calls.charge(number)),)
        case "call":
            charge = calls.charge(number)
            return calls.hold(HELD_MILLS, charge), calls.settle(COST_MILLS, charge)
        case "redeem":
            return (calls.redeem(user=number),)
        case "fail":
            return (calls.end_task("failed", calls.charge(number), number=number, why="upstream says so"),)
    raise AssertionError(f"nobody knows how to {kind}")


async def race(writer: Writer, items: list[Item]) -> Counter[str]:
    statuses: Counter[str] = Counter()
    waiting = iter(items)
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(_client(writer, waiting, statuses))
    return statuses


async def _client(writer: Writer, waiting: Iterator[Item], statuses: Counter[str]) -> None:
    for item in waiting:
        for command in commands(item):
            result = await writer.submit(command)
            statuses[result.status] += 1


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        with closing(opened(job["told"])) as store:
            writer = Writer(store)
            say("ready")
            sys.stdin.readline()
            statuses = asyncio.run(race(writer, [(kind, number) for kind, number in job["items"]]))
            writer.close()
        say(json.dumps(statuses))


if __name__ == "__main__":
    main()
