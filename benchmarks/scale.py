"""`python -m benchmarks.scale`: a store full of people, keys, channels and history beside the same with ten users.

What is promised: nothing but the log grows with the log. Start to ready, memory, CPU per call and the latency of paced calls of
both gateways, in the same run and in turns, on the same core.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from uuid import UUID

from benchmarks.gateway import MODELS, Gateway, Product, default_veloera, gateway
from benchmarks.loopback import Target, build
from benchmarks.processes import Cores, rss_mb
from benchmarks.report import Spread
from benchmarks.rounds import RATE, Bench, Requests, Sample, failures, interleaved, say
from domain import api_key, channel, commands, user
from domain.books import Result
from domain.commands import Command
from domain.events import ChannelTerms, KeyTerms
from domain.pricing import Price, PriceBook
from domain.units import mills
from domain.usage import Usage
from ledger.sealer import seal_here
from ledger.sqlite import SqliteStore
from ledger.vault import Vault, open_vault
from projections.places import read_place
from projections.readmodel import ReadModel

BATCH_COMMANDS = 256
MODEL_NAMES = 2_000
"""Of which each channel serves 200: a model is served by a hundred channels."""
MODELS_OF_A_CHANNEL = 200
SHARE_WITH_BENCH = 10
"""One channel of so many serves the model that is called as well."""
FOLD_S = 3_600
GRANT_QUOTA = 1_000_000
SAY_EVERY_COMMANDS = 100_000


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit code is 1 when a promise is not kept."""
    given = _options(arguments)
    cores = Cores.choose()
    with tempfile.TemporaryDirectory(prefix="veloera-scale-") as name, ExitStack() as stack:
        folder = Path(name)
        bench = Bench(build(cores.load), cores, given.seconds)
        os.sched_setaffinity(0, {cores.load})
        upstream = stack.enter_context(bench.loopback.upstream())
        requests = Requests.write(folder)
        product = Product(default_veloera(), "fast")
        sizes = {
            "small": (10, 10, 1, 1_000),
            "large": (given.users, given.keys, given.channels, given.events),
        }
        gateways: dict[str, Gateway] = {}
        for which, (users, keys, channels, facts) in sizes.items():
            fill = partial(filled, users=users, keys=keys, channels=channels, facts=facts, port=upstream.port)
            where = gateway(product, folder / which, cores.server, upstream.port, fill=fill)
            gateways[which] = stack.enter_context(where)
            say(f"{which}: ready after {gateways[which].ready_s:.1f} s, {rss_mb(gateways[which].target.pid):.0f} MB")
        memory = {which: rss_mb(found.target.pid) for which, found in gateways.items()}
        steps = {
            f"{which} {kind}": partial(_sample, bench, found.target, requests, rate)
            for which, found in gateways.items()
            for kind, rate in (("call", 0.0), ("rate", float(RATE)))
        }
        samples = interleaved(steps, given.rounds)
        return _report(gateways, memory, samples)


def _sample(bench: Bench, target: Target, requests: Requests, rate: float) -> Sample:
    return bench.sample(target, requests.call, rate=rate)


def _report(gateways: dict[str, Gateway], memory: dict[str, float], samples: dict[str, list[Sample]]) -> int:
    cpu = {which: Spread.of([s.cpu_us_per_call for s in samples[f"{which} call"]]) for which in gateways}
    p99 = {which: Spread.of([s.load.total_us.p99 / 1000 for s in samples[f"{which} rate"]]) for which in gateways}
    ratio = cpu["large"].median / cpu["small"].median
    print(f"{'':34}{'ten users':>16}{'large':>16}")
    print(f"{'start to ready, s':34}{gateways['small'].ready_s:16.1f}{gateways['large'].ready_s:16.1f}")
    print(f"{'RSS of all processes, MB':34}{memory['small']:16.0f}{memory['large']:16.0f}")
    print(f"{'CPU per call, us (median)':34}{cpu['small'].median:16.1f}{cpu['large'].median:16.1f}")
    print(f"{f'p99 at {RATE} calls/s, ms (median)':34}{p99['small'].median:16.2f}{p99['large'].median:16.2f}")
    print(f"CPU per call: {ratio:.2f} times (at most 1.2); start: {gateways['large'].ready_s:.1f} s (at most 15)")
    failed = failures(*samples.values())
    if failed:
        print(failed)
    return int(bool(failed) or ratio > 1.2 or gateways["large"].ready_s > 15)


def filled(folder: Path, *, users: int, keys: int, channels: int, facts: int, port: int) -> None:
    """Fill a store that has been initialised: people, keys and channels first, then calls until it has so many facts. Then fold and seal."""
    began = time.monotonic()
    # Nothing here has to survive a power loss: it is thrown away.
    store = SqliteStore(folder, synchronous="OFF")
    vault = open_vault(store, folder)
    draws = random.Random(7)
    try:
        owners = _ids(_carried(store, _people(vault, users), "users"))
        _carried(store, _keys(vault, owners, keys, draws), "keys")
        _carried(store, _channels(vault, channels, port, draws), "channels")
        _carried(store, _calls(owners, facts - store.head(), draws), "commands of calls")
        read = ReadModel(read_place(folder), store, vault)
        try:
            say(f"folding {store.head():,} facts")
            assert read.await_head(FOLD_S).is_current, "it was given an hour"
        finally:
            read.close()
        # A store that has grown is sealed as far as it goes: catching up is no part of a call.
        seal_here(store, folder, "", time.time_ns() // 1_000_000)
    finally:
        store.close()
    say(f"filled in {time.monotonic() - began:.0f} s")


def _carried(store: SqliteStore, asked: Iterable[Command], what: str) -> list[Result]:
    results: list[Result] = []
    left, done = iter(asked), 0
    while batch := list(islice(left, BATCH_COMMANDS)):
        found = store.commit(batch)
        wrong = next((result for result in found if not result.ok), None)
        assert wrong is None, f"the ledger refused: {wrong}"
        done += len(batch)
        if what != "commands of calls":
            results += found
        if done % SAY_EVERY_COMMANDS < BATCH_COMMANDS and done >= SAY_EVERY_COMMANDS:
            say(f"  {done:,} {what}")
    return results


def _ids(results: list[Result]) -> list[int]:
    return [result.id for result in results]


def _people(vault: Vault, count: int) -> Iterator[Command]:
    password = vault.put("a hash that nobody has the password of")
    for number in range(count):
        profile = vault.put(f'{{"username": "user{number}", "display_name": "User {number}", "email": ""}}')
        yield user.creation(
            claim=vault.digest("username", f"user{number}"),
            profile=profile,
            password=password if not number else vault.put("a hash that nobody has the password of"),
            grant_mills=mills(GRANT_QUOTA),
        )


def _keys(vault: Vault, owners: list[int], count: int, draws: random.Random) -> Iterator[Command]:
    for number in range(count):
        text = f"{draws.getrandbits(240):060x}"
        yield api_key.creation(
            user=owners[number % len(owners)],
            digest=vault.digest("key", text),
            secret=vault.put(text),
            terms=KeyTerms(name=f"key {number}"),
            limit_mills=mills(GRANT_QUOTA) if number % 3 == 0 else None,
        )


def _channels(vault: Vault, count: int, port: int, draws: random.Random) -> Iterator[Command]:
    names = [f"model-{number}" for number in range(MODEL_NAMES)]
    for number in range(count):
        served = draws.sample(names, MODELS_OF_A_CHANNEL)
        if number % SHARE_WITH_BENCH == 0:
            served += MODELS
        terms = ChannelTerms(
            type=1,
            name=f"channel {number}",
            base_url=f"http://127.0.0.1:{port}",
            models=tuple(served),
            weight=number % 5,
        )
        yield channel.creation(terms=terms, secret=vault.put("sk-loopback"))


def _calls(owners: list[int], facts: int, draws: random.Random) -> Iterator[Command]:
    price = PriceBook.from_settings({}, 1).price("gpt-4o", "default")
    usage = Usage(input=250, output=120)
    for number in range(facts // 2):
        owner = owners[draws.randrange(len(owners))]
        charge = UUID(int=(1_790_000_000_000 << 80) | 7 << 76 | 2 << 62 | number).hex
        yield _hold(charge, owner, price)
        yield commands.Settle(
            charge=charge,
            user=owner,
            key=0,
            model="gpt-4o",
            group="default",
            price=price,
            usage=usage,
            cost=price.cost_mills(usage),
            ended_by="complete",
            endpoint="chat/completions",
            channel=1,
            upstream_model="gpt-4o",
            duration_ms=900,
            attempts=(1,),
        )


def _hold(charge: str, owner: int, price: Price) -> Command:
    return commands.Hold(
        charge=charge,
        user=owner,
        key=0,
        model="gpt-4o",
        group="default",
        prices=(price,),
        amount=price.ceiling_mills(300, 256),
        endpoint="chat/completions",
        node="bench",
        epoch="bench",
        ttl_ms=60_000,
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=300_000)
    parser.add_argument("--channels", type=int, default=1_000)
    parser.add_argument("--events", type=int, default=2_000_000, help="facts in the store")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
