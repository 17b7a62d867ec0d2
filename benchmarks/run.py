"""`make bench`: measure the gateway beside a bare echo, print a row for each promise, stop by itself.

A benchmark is not a test: it ends with 0 even where a target is missed, unless `--check` is given.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import msgspec

from benchmarks import rows
from benchmarks.gateway import ENGINES, Gateway, GatewayFailed, Product, default_veloera, gateway
from benchmarks.loopback import MAX_CONNECTIONS, LoadFailed, Loopback, NoCompiler, Target, build, listening
from benchmarks.open_streams import open_streams
from benchmarks.processes import Cores, TooFewFiles, raise_file_limit
from benchmarks.report import Row, table
from benchmarks.rounds import Bench, Requests, Sample, interleaved, say
from benchmarks.soak import soak

NAMES = (*rows.NEEDS, *rows.ALONE)
WHEN_NAMED = ("soak",)
WARM_UP_S = 0.5
FILES_BESIDE = 512
"""That a process has open beside those of streams."""


class Scale(msgspec.Struct, frozen=True):
    """How much is measured."""

    rounds: int
    seconds: float
    """Of each load."""
    calls: int
    """Of the memory row."""
    streams: int
    """Of the row of open ones."""
    minutes: float
    """Of the soak."""


FULL = Scale(7, 3.0, 100_000, 2_000, 10)
QUICK = Scale(2, 0.5, 4_000, 200, 0.2)


class Options(msgspec.Struct, frozen=True):
    """The command line."""

    scale: Scale
    only: tuple[str, ...]
    json: Path | None
    product: Product
    check: bool


class Report(msgspec.Struct, frozen=True):
    """What `--json` writes."""

    machine: dict[str, str]
    scale: Scale
    rows: list[Row]
    samples: dict[str, list[Sample]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; the exit code: 0, 1 (`--check` and a target missed), 2 (they could not be run)."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        report = measure(options)
    except (NoCompiler, GatewayFailed, LoadFailed, TooFewFiles) as error:
        say(f"error: {error}")
        return 2
    print("\n".join(f"{name}: {value}" for name, value in report.machine.items()), end="\n\n")
    print(table(report.rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return int(options.check and not all(row.met for row in report.rows))


def _end(number: int, _: object) -> NoReturn:
    """End by an exception: the default would end this process and leave the servers it started."""
    sys.exit(128 + number)


def measure(options: Options) -> Report:
    """Everything that `options` ask for.

    Raises:
        NoCompiler, GatewayFailed, LoadFailed, TooFewFiles: it could not be measured.
    """
    scale, cores = options.scale, Cores.choose()
    raise_file_limit(2 * scale.streams * ("open" in options.only) + FILES_BESIDE)
    bench = Bench(build(cores.load), cores, scale.seconds)
    os.sched_setaffinity(0, {cores.load})
    found: list[Row] = []
    samples: dict[str, list[Sample]] = {}
    with tempfile.TemporaryDirectory(prefix="veloera-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        requests = Requests.write(folder)
        machine = _machine(folder, cores, options.product)
        echo, uvicorn = (stack.enter_context(unit) for unit in _echoes(bench.loopback, folder, cores.server))
        upstream = stack.enter_context(bench.loopback.upstream())
        servers = rows.Servers(echo, uvicorn, upstream)
        if names := [name for name in rows.NEEDS if name in options.only]:
            samples, found = _rounds(bench, requests, names, options, servers, folder)
        found += _alone(bench, requests, options, servers, folder)
    return Report(machine, scale, found, samples)


def _rounds(
    bench: Bench, requests: Requests, names: list[str], options: Options, servers: rows.Servers, folder: Path
) -> tuple[dict[str, list[Sample]], list[Row]]:
    """The rows that are made of interleaved rounds, with a gateway if one of them needs it."""
    needed = dict.fromkeys(step for name in names for step in rows.NEEDS[name])
    with ExitStack() as stack:
        product: Gateway | None = None
        if any(step.startswith("gateway") for step in needed):
            where = gateway(options.product, folder / "rounds", bench.cores.server, servers.upstream.port)
            product = stack.enter_context(where)
            servers = replace(servers, gateway=product.target)
            say(f"the gateway's {product.processes} processes are on core {bench.cores.server}, and counted together")
        warm = rows.steps(replace(bench, seconds=WARM_UP_S), requests, servers)
        for step in needed:
            warm[step]()
        before_mills = product.balance_mills() if product else 0
        steps = rows.steps(bench, requests, servers)
        samples = interleaved({step: steps[step] for step in needed}, options.scale.rounds)
        found = [row for name in names for row in rows.of_rounds(name, samples)]
        if product:
            found.append(rows.billing(product, before_mills, samples))
    return samples, found


def _alone(bench: Bench, requests: Requests, options: Options, servers: rows.Servers, folder: Path) -> list[Row]:
    """The rows that have a gateway of their own, or none."""
    scale, core, product, upstream = options.scale, bench.cores.server, options.product, servers.upstream
    found: list[Row] = []
    if "memory" in options.only:
        with gateway(product, folder / "memory", core, upstream.port) as fresh:
            found += rows.memory(bench, fresh.target, servers.echo, requests.call, scale.calls)
    if "open" in options.only:
        found += open_streams(bench, product, folder, upstream, requests, scale.streams)
    if "ledger" in options.only:
        found += rows.ledger(folder, core, scale.rounds, scale.seconds / 2)
        found += rows.ledger_on_postgres(bench.cores, scale.rounds, scale.seconds / 2)
    if "soak" in options.only:
        found += soak(bench, product, folder, requests, scale.minutes)
    return found


def _echoes(loopback: Loopback, folder: Path, core: int) -> Iterator[AbstractContextManager[Target]]:
    """The units on `core`, sending the loopback's own events: on hypercorn, on uvicorn."""
    stream = folder / "stream.txt"
    stream.write_bytes(loopback.show("stream"))
    for server in ("hypercorn", "uvicorn"):
        yield listening([sys.executable, "-m", "benchmarks.echo_app", server, stream], core)


def _machine(folder: Path, cores: Cores, product: Product) -> dict[str, str]:
    """What the figures depend on."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    shared = "" if cores.server != cores.load else ", WHICH ARE THE SAME: nothing here is comparable"
    return {
        "machine": f"{cpu.partition(':')[2].strip()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "cores": f"{cores.server} for what is measured, {cores.load} for load and upstream{shared}",
        "engine": ", ".join([product.engine, *(f"{name}={value}" for name, value in ENGINES[product.engine].items())]),
        "data": f"{folder} on {_file_system(folder)}",
        "versions": f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        + ", ".join(
            f"{package} {version(package)}" for package in ("veloera", "hypercorn", "uvicorn", "httptools", "uvloop")
        ),
    }


def _file_system(folder: Path) -> str:
    """The type of file system; on one in memory a commit costs nothing, and the figures flatter."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    kind = max(holding)[1] if holding else "an unknown file system"
    return f"{kind}, IN MEMORY: set TMPDIR to a disk" if kind in ("tmpfs", "ramfs") else kind


def _options(arguments: Sequence[str] | None) -> Options:
    usual = [name for name in NAMES if name not in WHEN_NAMED]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="interleaved rounds (7)")
    parser.add_argument("--seconds", type=float, help="of each load (3)")
    parser.add_argument("--only", default=",".join(usual), metavar="NAME,...", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--engine", choices=ENGINES, default="fast", help="the gateway's HTTP: ours, or the libraries'")
    parser.add_argument("--calls", type=int, help="of the memory row (100,000)")
    parser.add_argument("--streams", type=int, help="open at once (2,000)")
    parser.add_argument("--minutes", type=float, help="of the soak (10), which runs only when it is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and samples there, too")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.5 s, 200 streams: does it work?")
    parser.add_argument("--veloera", type=Path, default=default_veloera(), help="the command under test")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    given = parser.parse_args(arguments)
    only = tuple(given.only.split(","))
    if unknown := set(only) - set(NAMES):
        parser.error(f"--only: expected names of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    asked = {name: value for name in Scale.__struct_fields__ if (value := getattr(given, name)) is not None}
    scale = msgspec.structs.replace(QUICK if given.quick else FULL, **asked)
    if wrong := _out_of_bounds(scale):
        parser.error(wrong)
    return Options(scale, only, given.json, Product(given.veloera, given.engine), given.check)


def _out_of_bounds(scale: Scale) -> str:
    """What is wrong with a scale; empty if nothing is."""
    if not (1 <= scale.rounds <= 1000 and 0 < scale.seconds <= 600 and 4 <= scale.calls <= 10**8):
        return "expected 1 to 1000 --rounds, up to 600 --seconds, 4 to 10^8 --calls"
    if not (1 <= scale.streams <= MAX_CONNECTIONS and 0.05 <= scale.minutes <= 1440):
        return f"expected 1 to {MAX_CONNECTIONS} --streams, 0.05 to 1440 --minutes"
    return ""


if __name__ == "__main__":
    sys.exit(main())
