"""How many commands a second one hot account takes: holds and settlements through the writer, no gateway in between.

`python -m benchmarks.ledger_bench` compares group commit with commits of one command, in interleaved rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import uvloop

from domain.commands import Hold, Register, Settle
from domain.events import UserCreated
from domain.pricing import Price
from domain.usage import Usage
from ledger.sqlite import SqliteStore
from ledger.writer import BATCH_LIMIT_COMMANDS, Writer
from relay.call import new_request_id

OPENING_MILLS = 10**14
HELD_MILLS = 5_000
PRICE = Price(model="bench", group="default", book=1, model_ratio="0.01")
USAGE = Usage(input=250, output=120)
COST_MILLS = PRICE.cost_mills(USAGE)


class Bench(NamedTuple):
    """What one run measured. CPU is that of the whole process: event loop, clients and writer thread."""

    commands_per_s: float
    commits_per_s: float
    average_batch: float
    """Commands in one commit."""
    cpu_us_per_pair: float
    """For one hold and its settlement."""


async def hold_and_settle(folder: Path, batch_limit: int, seconds: float, clients: int) -> Bench:
    """`clients` tasks each hold and settle, one call after the other, on one user's account, for so many seconds.

    The store is made in `folder`. Every command is durable before it counts.
    """
    with _writer(folder, batch_limit) as writer:
        created = UserCreated(profile="", password="", claim="")
        user = (await writer.submit(Register(kind="user", created=created, grant=OPENING_MILLS))).id
        commits, cpu_s, start = writer.commits, time.process_time(), time.monotonic()
        counts = await asyncio.gather(*(_client(writer, user, start + seconds) for _ in range(clients)))
        elapsed_s, cpu_s, commits = time.monotonic() - start, time.process_time() - cpu_s, writer.commits - commits
        commands = sum(counts)
        return Bench(commands / elapsed_s, commits / elapsed_s, commands / commits, 2e6 * cpu_s / commands)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each round and the medians of both limits with their ratio."""
    options = _options(arguments)
    measured: dict[int, list[Bench]] = {BATCH_LIMIT_COMMANDS: [], 1: []}
    for number in range(options.rounds):
        for limit, found in measured.items():
            with TemporaryDirectory(prefix="ledger-bench-") as folder:
                work = hold_and_settle(Path(folder), limit, options.seconds, options.clients)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    found.append(runner.run(work))
            print(f"round {number + 1}, at most {limit:3} a commit: {_told(found[-1])}", flush=True)
    middle = {limit: Bench(*map(median, zip(*found, strict=True))) for limit, found in measured.items()}
    for limit, bench in middle.items():
        print(f"median,  at most {limit:3} a commit: {_told(bench)}")
    grouped, single = middle[BATCH_LIMIT_COMMANDS], middle[1]
    print(f"group commit: {grouped.commands_per_s / single.commands_per_s:.1f} times as many commands a second")


def _told(bench: Bench) -> str:
    return (
        f"{bench.commands_per_s:8,.0f} commands/s, {bench.commits_per_s:6,.0f} commits/s, batches of "
        f"{bench.average_batch:5.1f}, {bench.cpu_us_per_pair:4.0f} us CPU for a hold and its settlement"
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger_bench", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round and limit")
    parser.add_argument("--clients", type=int, default=64)
    return parser.parse_args(arguments)


async def _client(writer: Writer, user: int, until: float) -> int:
    """Calls of one client, as the relay makes them; answers how many commands were committed."""
    count = 0
    while time.monotonic() < until:
        charge = new_request_id()  # as in life: ids that rise with time fall into few pages
        for command in (_hold(charge, user), _settle(charge, user)):
            result = await writer.submit(command)
            assert result.status == "created", f"a new charge on a rich account was answered {result}"
            count += 1
    return count


@contextmanager
def _writer(folder: Path, batch_limit: int) -> Generator[Writer]:
    store = SqliteStore(folder)
    writer = Writer(store, batch_limit=batch_limit)
    try:
        yield writer
    finally:
        writer.close()
        store.close()


def _hold(charge: str, user: int) -> Hold:
    return Hold(
        charge=charge,
        user=user,
        key=1,
        model=PRICE.model,
        group=PRICE.group,
        prices=(PRICE,),
        amount=HELD_MILLS,
        node="bench",
        epoch="bench",
        ttl_ms=60_000,
    )


def _settle(charge: str, user: int) -> Settle:
    return Settle(
        charge=charge,
        user=user,
        key=1,
        model=PRICE.model,
        group=PRICE.group,
        price=PRICE,
        usage=USAGE,
        cost=COST_MILLS,
        ended_by="complete",
    )


if __name__ == "__main__":
    main()
