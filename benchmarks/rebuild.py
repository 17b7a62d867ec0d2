"""`python -m benchmarks.rebuild`: read models of a million charges built again, and what live calls notice of it.

The ledger is filled by `decide` in commits of 256, so that it verifies like any other. Meanwhile a gateway on the same ledger
answers calls at a fixed rate, before the rebuild, during it and after it: their 99th percentiles are printed side by side.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from uuid import UUID

import msgspec

from benchmarks.gateway import Gateway, GatewayFailed, Product, default_veloera, gateway, verified
from benchmarks.loopback import Load, LoadFailed, Loopback, NoCompiler, Plan, Request, build
from benchmarks.processes import Cores
from benchmarks.report import Goal, Row, Spread, compared, table
from benchmarks.rounds import RATE, Requests, say
from domain import api_key, commands, user
from domain.commands import Command, VaultPut
from domain.events import KeyTerms
from domain.pricing import PriceBook
from domain.usage import Usage
from ledger.sqlite import SqliteStore
from ledger.vault import Vault, open_vault
from projections.database import positions_in
from projections.places import SqlitePlace, database_at

CHARGES = 1_000_000
USERS = 500
BATCH_COMMANDS = 256
GRANT_MILLS = 10**15
MODELS = ("gpt-4o", "gpt-4", "o1")
CONNECTIONS = 16
WINDOW_S = 15.0
CALM_WINDOWS = 4
FOLDED_WITHIN_S = 1800
P99_TIMES = 2.0


class Replayed(msgspec.Struct, frozen=True):
    """The part of `veloera replay --json` that is read here."""

    same: bool
    position: int
    facts: int
    seconds: float
    facts_per_s: float
    peak_mb: float


@dataclass(frozen=True)
class Options:
    charges: int
    users: int
    processes: int
    pause_ms: int | None
    rate: float
    veloera: Path
    folder: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 when it could not be run. A target that is missed is printed, and no failure."""
    options = _options(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="veloera-rebuild-", dir=options.folder) as name:
            rows = measure(options, Path(name))
    except (NoCompiler, GatewayFailed, LoadFailed) as error:
        say(f"error: {error}")
        return 2
    print(table(rows))
    return 0


def measure(options: Options, folder: Path) -> list[Row]:
    """Fill, rebuild under load, verify. Raises NoCompiler, GatewayFailed, LoadFailed."""
    cores = Cores.choose()
    loopback = build(cores.load)
    product = Product(options.veloera, "fast")
    os.sched_setaffinity(0, {cores.load})
    requests = Requests.write(folder)
    with loopback.upstream() as upstream, gateway(product, folder / "gateway", cores.server, upstream.port) as running:
        data = folder / "gateway" / "data"
        filled_per_s = fill(data, options.charges, options.users)
        _await_folded(data)
        traffic = Traffic(loopback, running, requests.call, options.rate)
        calm = [traffic.window() for _ in range(CALM_WINDOWS)]
        replayed, busy = _rebuild(options, data, traffic, cores)
        calm += [traffic.window() for _ in range(CALM_WINDOWS)]
    sound = verified(product, folder / "gateway")
    return _rows(options, replayed, calm, busy, filled_per_s, sound=sound.sound and replayed.same, facts=sound.facts)


class Traffic:
    """Calls to a gateway at a fixed rate, whatever it is doing."""

    def __init__(self, loopback: Loopback, running: Gateway, request: Request, rate: float) -> None:
        self._loopback = loopback
        self._target = running.target
        self._request = request
        self._plan = Plan(connections=CONNECTIONS, seconds=WINDOW_S, rate=rate)

    def window(self) -> Load:
        return self._loopback.load(self._target, self._request, self._plan)


def fill(folder: Path, charges: int, users: int) -> float:
    """Hold and settle so many calls in the ledger of a folder, for users of their own; charges a second."""
    with closing(SqliteStore(folder, synchronous="OFF")) as store:
        vault = open_vault(store, folder)
        people = [_committed(store, [command])[0] for command in _people(vault, users)]
        keys = _committed(store, list(_keys(vault, people)))
        drawn = _calls(list(zip(people, keys, strict=True)), charges)
        began = time.monotonic()
        while pairs := list(islice(drawn, BATCH_COMMANDS)):
            for batch in zip(*pairs, strict=True):
                _committed(store, batch)
        return charges / (time.monotonic() - began)


def _committed(store: SqliteStore, batch: Sequence[Command]) -> list[int]:
    results = store.commit(batch)
    assert all(result.status == "created" for result in results), results
    return [result.id for result in results]


def _people(vault: Vault, count: int) -> Iterator[Command]:
    for number in range(count):
        name = f"rebuild-{number}"
        profile = msgspec.json.encode({"username": name, "display_name": name, "email": f"{name}@example.org"})
        yield user.creation(
            claim=vault.digest("username", name),
            profile=vault.put(profile),
            password=vault.put("no hash: nobody logs in"),
            grant_mills=GRANT_MILLS,
        )


def _keys(vault: Vault, people: Sequence[int]) -> Iterator[Command]:
    for person in people:
        secret: VaultPut = vault.put("no key: nobody calls with it")
        digest = vault.digest("key", f"rebuild-{person}")
        yield api_key.creation(
            user=person, digest=digest, secret=secret, terms=KeyTerms(name="rebuild"), limit_mills=None
        )


def _calls(payers: Sequence[tuple[int, int]], count: int) -> Iterator[tuple[Command, Command]]:
    """A hold and its settlement, for one call after the other."""
    draw = random.Random(1)
    book = PriceBook.from_settings({}, 1)
    prices = {model: book.price(model, "default") for model in MODELS}
    for number in range(count):
        (person, key), model = draw.choice(payers), draw.choice(MODELS)
        price, call = prices[model], UUID(int=draw.getrandbits(127) ^ number).hex
        usage = Usage(input=draw.randrange(1, 4000), output=draw.randrange(1, 1000))
        hold = commands.Hold(
            charge=call, user=person, key=key, model=model, group="default", prices=(price,),
            amount=price.ceiling_mills(4000, 1000), node="rebuild", epoch="rebuild", ttl_ms=3_600_000,
        )  # fmt: skip
        settle = commands.Settle(
            charge=call, user=person, key=key, model=model, group="default", price=price, usage=usage,
            cost=price.cost_mills(usage), ended_by="complete", endpoint="chat/completions", channel=1,
            upstream_model=model, duration_ms=1_500, attempts=(1,),
        )  # fmt: skip
        yield hold, settle


def _await_folded(folder: Path) -> None:
    """Until the gateway's projector has folded what was filled in. Raises GatewayFailed."""
    give_up = time.monotonic() + FOLDED_WITHIN_S
    with closing(database_at(SqlitePlace(folder))) as database, closing(SqliteStore(folder)) as store:
        head = store.head()
        while True:
            with database.reading() as reader:
                position = min(positions_in(reader).values())
            if position >= head:
                return
            if time.monotonic() > give_up:
                raise GatewayFailed(f"the projector is at {position:,} of {head:,} after {FOLDED_WITHIN_S} s")
            time.sleep(0.5)


def _rebuild(options: Options, folder: Path, traffic: Traffic, cores: Cores) -> tuple[Replayed, list[Load]]:
    """A replay on any core, and the windows of traffic that passed meanwhile."""
    pause = [] if options.pause_ms is None else ["--pause-ms", str(options.pause_ms)]
    asked = ["replay", "--json", "--processes", str(options.processes), *pause]
    command = [str(options.veloera), "--data-dir", str(folder), *asked]
    os.sched_setaffinity(0, {cores.server, cores.load})
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        os.sched_setaffinity(0, {cores.load})
        windows = [traffic.window()]
        while process.poll() is None:
            windows.append(traffic.window())
        assert process.stdout is not None, "its output was asked for as a pipe"
        said = process.stdout.read()
    if process.returncode not in (0, 1):
        raise GatewayFailed(f"`veloera replay` ended with exit code {process.returncode}")
    # The replay ended within the last window: one that was half calm says nothing.
    return msgspec.json.decode(said, type=Replayed), windows[:-1] or windows


def _rows(
    options: Options,
    replayed: Replayed,
    calm: Sequence[Load],
    busy: Sequence[Load],
    filled_per_s: float,
    *,
    sound: bool,
    facts: int,
) -> list[Row]:
    failed = sum(int(load.errors) for load in (*calm, *busy))
    ratio = statistics.median(_p99_ms(busy)) / statistics.median(_p99_ms(calm))
    live = compared(
        "live calls", "p99 ms", [statistics.median(_p99_ms(busy))], "without", [statistics.median(_p99_ms(calm))]
    )
    return [
        Row(name="fill", measure="charges/s", figure=Spread.of([filled_per_s]), note=f"{options.charges:,} charges"),
        Row(
            name="rebuild",
            measure="facts/s",
            figure=Spread.of([replayed.facts_per_s]),
            goals=(Goal("same rows, ledger sound", sound),),
            note=f"{replayed.facts:,} of {facts:,} facts in {replayed.seconds:.1f} s by {options.processes}",
        ),
        Row(name="rebuild", measure="peak MB", figure=Spread.of([replayed.peak_mb])),
        live.aiming(Goal.at_most(ratio, P99_TIMES, "x")).failed(f"{failed} calls failed" if failed else ""),
        Row(
            name="live calls", measure="p99 ms during it", figure=Spread.of(_p99_ms(busy)), note=f"{len(busy)} windows"
        ),
        Row(name="live calls", measure="p99 ms without", figure=Spread.of(_p99_ms(calm)), note=f"{len(calm)} windows"),
    ]


def _p99_ms(loads: Sequence[Load]) -> list[float]:
    return [load.total_us.p99 / 1000 for load in loads]


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuild", description=__doc__)
    parser.add_argument("--charges", type=int, default=CHARGES, help="to fill the ledger with (default: %(default)s)")
    parser.add_argument("--users", type=int, default=USERS, help="who pay for them (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="of the replay (default: %(default)s)")
    parser.add_argument("--pause-ms", type=int, help="of the replay (default: its own)")
    parser.add_argument("--rate", type=float, default=RATE, help="live calls a second (default: %(default)s)")
    parser.add_argument("--veloera", type=Path, default=default_veloera(), help="the command (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the data is put, and removed from (default: the system's)")
    given = parser.parse_args(arguments)
    if not (1 <= given.charges <= 10**8 and 1 <= given.users <= 10**5 and 1 <= given.processes <= 8 and given.rate > 0):
        parser.error("expected 1 to 10^8 --charges, 1 to 10^5 --users, 1 to 8 --processes and a --rate above 0")
    return Options(**vars(given))


if __name__ == "__main__":
    sys.exit(main())
