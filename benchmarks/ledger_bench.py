"""How many commands a second one hot account takes: holds and settlements through the writer, no gateway in between.

`python -m benchmarks.ledger_bench` compares group commit with commits of one command, in interleaved rounds; with `--postgres` on a
server of its own, which waits for the disk, from two processes on a core each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import uvloop

from benchmarks.processes import on_core
from domain.commands import Hold, Register, Settle
from domain.events import UserCreated
from domain.pricing import Price
from domain.usage import Usage
from ledger.sqlite import SqliteStore
from ledger.store import LedgerStore
from ledger.writer import BATCH_LIMIT_COMMANDS, Writer
from relay.call import new_request_id

if TYPE_CHECKING:
    from tests.harness.postgres import Server

PROCESSES = 2
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
    with _writer(SqliteStore(folder), batch_limit) as writer:
        return await _measured(writer, await _registered(writer), seconds, clients)


async def worker(dsn: str, user: int, batch_limit: int, seconds: float, clients: int) -> Bench:
    """One process of several that use one user's account on a server. Says `ready` and waits for a line before it begins."""
    from ledger.postgres import PostgresStore

    with _writer(PostgresStore(dsn, migrate=False), batch_limit) as writer:
        for command in (_hold(charge := new_request_id(), user), _settle(charge, user)):
            await writer.submit(command)
        print("ready", flush=True)
        sys.stdin.readline()
        return await _measured(writer, user, seconds, clients)


def on_postgres(server: Server, batch_limit: int, seconds: float, clients: int, cores: Sequence[int]) -> Bench:
    """A process on each of `cores`, all on one user's account, in a new ledger; the sums of what they measured.

    A batch and the CPU of a pair are averages over the processes; the server's own CPU is not counted.
    """
    from ledger.postgres import PostgresStore

    database = server.database()
    with _writer(PostgresStore(server.dsn(database)), BATCH_LIMIT_COMMANDS) as writer:
        user = asyncio.run(_registered(writer))
    arguments = [server.dsn(database), str(user), str(batch_limit), str(seconds), str(clients)]
    command = [sys.executable, "-m", "benchmarks.ledger_bench", "--worker", *arguments]
    workers: list[subprocess.Popen[bytes]] = []
    for core in cores:
        with on_core(core):
            workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    try:
        for process in workers:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", "a worker did not come up"
        for process in workers:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        found = [msgspec.json.decode(process.communicate(timeout=seconds + 60)[0], type=Bench) for process in workers]
    finally:
        for process in workers:
            process.kill()
            process.wait()
    server.drop(database)
    rate = sum(bench.commands_per_s for bench in found)
    commits = sum(bench.commits_per_s for bench in found)
    return Bench(rate, commits, rate / commits, sum(bench.cpu_us_per_pair for bench in found) / len(found))


def rates_on_postgres(
    server: Server, cores: Sequence[int], limits: Sequence[int], rounds: int, seconds: float, clients: int
) -> dict[int, list[float]]:
    """Commands a second of interleaved rounds, by the limit of a batch."""
    rates: dict[int, list[float]] = {limit: [] for limit in limits}
    for _ in range(rounds):
        for limit, found in rates.items():
            found.append(on_postgres(server, limit, seconds, clients, cores).commands_per_s)
    return rates


async def _registered(writer: Writer) -> int:
    """A user who is rich enough for any bench; their id."""
    created = UserCreated(profile="", password="", claim="")
    return (await writer.submit(Register(kind="user", created=created, grant=OPENING_MILLS))).id


async def _measured(writer: Writer, user: int, seconds: float, clients: int) -> Bench:
    commits, cpu_s, start = writer.commits, time.process_time(), time.monotonic()
    counts = await asyncio.gather(*(_client(writer, user, start + seconds) for _ in range(clients)))
    elapsed_s, cpu_s, commits = time.monotonic() - start, time.process_time() - cpu_s, writer.commits - commits
    commands = sum(counts)
    return Bench(commands / elapsed_s, commits / elapsed_s, commands / commits, 2e6 * cpu_s / commands)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each round and the medians of both limits with their ratio."""
    options = _options(arguments)
    if options.worker:
        dsn, user, limit, seconds, clients = options.worker
        work = worker(dsn, int(user), int(limit), float(seconds), int(clients))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sys.stdout.buffer.write(msgspec.json.encode(runner.run(work)))
        return
    measured: dict[int, list[Bench]] = {BATCH_LIMIT_COMMANDS: [], 1: []}
    with _place(options) as measure:
        _compare(measure, measured, options.rounds)


@contextmanager
def _place(options: argparse.Namespace) -> Generator[Callable[[int], Bench]]:
    """How one round with a limit is measured."""
    if options.postgres:
        from tests.harness.postgres import Server

        cores = sorted(os.sched_getaffinity(0))[:PROCESSES]
        with Server(fsync=True) as server:
            yield lambda limit: on_postgres(server, limit, options.seconds, options.clients, cores)
        return

    def measure(limit: int) -> Bench:
        with TemporaryDirectory(prefix="ledger-bench-") as folder:
            work = hold_and_settle(Path(folder), limit, options.seconds, options.clients)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(work)

    yield measure


def _compare(measure: Callable[[int], Bench], measured: dict[int, list[Bench]], rounds: int) -> None:
    for number in range(rounds):
        for limit, found in measured.items():
            found.append(measure(limit))
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
    parser.add_argument("--clients", type=int, default=64, help="of each process")
    parser.add_argument("--postgres", action="store_true", help="on a server, from two processes")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
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
def _writer(store: LedgerStore, batch_limit: int) -> Generator[Writer]:
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
