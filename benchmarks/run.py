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
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import msgspec

from benchmarks import rows
from benchmarks.gateway import Gateway, GatewayFailed, default_veloera, gateway
from benchmarks.loopback import LoadFailed, Loopback, NoCompiler, Target, build, listening
from benchmarks.processes import Cores
from benchmarks.report import Row, table
from benchmarks.rounds import Bench, Requests, Sample, interleaved, say

NAMES = (*rows.NEEDS, *rows.ALONE)
WARM_UP_S = 0.5
FULL = (7, 3.0, 100_000)
QUICK = (2, 0.5, 4_000)
"""Rounds, seconds of a load, calls of the memory row."""


class Options(msgspec.Struct, frozen=True):
    """The command line."""

    rounds: int
    seconds: float
    only: tuple[str, ...]
    calls: int
    json: Path | None
    veloera: Path
    check: bool


class Report(msgspec.Struct, frozen=True):
    """What `--json` writes."""

    machine: dict[str, str]
    rounds: int
    seconds: float
    rows: list[Row]
    samples: dict[str, list[Sample]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; the exit code: 0, 1 (`--check` and a target missed), 2 (they could not be run)."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        report = measure(options)
    except (NoCompiler, GatewayFailed, LoadFailed) as error:
        say(f"error: {error}")
        return 2
    print("\n".join(f"{name}: {value}" for name, value in report.machine.items()), end="\n\n")
    print(table(report.rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return int(options.check and any(row.met is False for row in report.rows))


def _end(number: int, _: object) -> NoReturn:
    """End by an exception: the default would end this process and leave the servers it started."""
    sys.exit(128 + number)


def measure(options: Options) -> Report:
    """Everything that `options` ask for.

    Raises:
        NoCompiler, GatewayFailed, LoadFailed: it could not be measured.
    """
    cores = Cores.choose()
    bench = Bench(build(cores.load), cores, options.seconds)
    os.sched_setaffinity(0, {cores.load})
    found: list[Row] = []
    samples: dict[str, list[Sample]] = {}
    with tempfile.TemporaryDirectory(prefix="veloera-bench-") as name:
        folder = Path(name)
        requests = Requests.write(folder)
        machine = _machine(folder, cores)
        with bench.loopback.upstream() as upstream, _echo(bench.loopback, folder, cores.server) as echo:
            if names := [name for name in rows.NEEDS if name in options.only]:
                samples, found = _rounds(bench, requests, names, options, (echo, upstream), folder)
            if "memory" in options.only:
                with gateway(options.veloera, folder / "memory", cores.server, upstream.port) as fresh:
                    found += rows.memory(bench, fresh.target, echo, requests.call, options.calls)
        if "ledger" in options.only:
            found += rows.ledger(folder, cores.server, options.rounds, options.seconds / 2)
    return Report(machine, options.rounds, options.seconds, found, samples)


def _rounds(
    bench: Bench, requests: Requests, names: list[str], options: Options, servers: tuple[Target, Target], folder: Path
) -> tuple[dict[str, list[Sample]], list[Row]]:
    """The rows that are made of interleaved rounds, with a gateway if one of them needs it."""
    echo, upstream = servers
    needed = dict.fromkeys(step for name in names for step in rows.NEEDS[name])
    with ExitStack() as stack:
        product: Gateway | None = None
        if any(step.startswith("gateway") for step in needed):
            where = folder / "rounds"
            product = stack.enter_context(gateway(options.veloera, where, bench.cores.server, upstream.port))
        target = product.target if product else None
        warm = rows.steps(replace(bench, seconds=WARM_UP_S), requests, echo, target, upstream)
        for step in needed:
            warm[step]()
        before_mills = product.balance_mills() if product else 0
        steps = rows.steps(bench, requests, echo, target, upstream)
        samples = interleaved({step: steps[step] for step in needed}, options.rounds)
        found = [row for name in names for row in rows.of_rounds(name, samples)]
        if product:
            found.append(rows.billing(product, before_mills, *_served(samples)))
    return samples, found


def _echo(loopback: Loopback, folder: Path, core: int) -> AbstractContextManager[Target]:
    """The unit on `core`, sending the loopback's own events."""
    stream = folder / "stream.txt"
    stream.write_bytes(loopback.show("stream"))
    return listening([sys.executable, "-m", "benchmarks.echo_app", stream], core)


def _served(samples: Mapping[str, Sequence[Sample]]) -> tuple[int, int]:
    """How many calls and how many streams the gateway answered."""
    calls, streams = (
        sum(sample.load.calls - sample.load.errors.non_200 for step in of_kind for sample in samples.get(step, ()))
        for of_kind in (("gateway call", "gateway rate"), ("gateway stream", "gateway paced"))
    )
    return calls, streams


def _machine(folder: Path, cores: Cores) -> dict[str, str]:
    """What the figures depend on."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    shared = "" if cores.server != cores.load else ", WHICH ARE THE SAME: nothing here is comparable"
    return {
        "machine": f"{cpu.partition(':')[2].strip()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "cores": f"{cores.server} for what is measured, {cores.load} for load and upstream{shared}",
        "data": f"{folder} on {_file_system(folder)}",
        "versions": f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        + ", ".join(f"{package} {version(package)}" for package in ("veloera", "hypercorn", "uvloop")),
    }


def _file_system(folder: Path) -> str:
    """The type of file system; on one in memory a commit costs nothing, and the figures flatter."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    kind = max(holding)[1] if holding else "an unknown file system"
    return f"{kind}, IN MEMORY: set TMPDIR to a disk" if kind in ("tmpfs", "ramfs") else kind


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="interleaved rounds (7)")
    parser.add_argument("--seconds", type=float, help="of each load (3)")
    parser.add_argument("--only", default=",".join(NAMES), metavar="NAME,...", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--calls", type=int, help="of the memory row (100,000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and samples there, too")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.5 s, 4,000 calls: does it work?")
    parser.add_argument("--veloera", type=Path, default=default_veloera(), help="the command under test")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    given = parser.parse_args(arguments)
    only = tuple(given.only.split(","))
    if unknown := set(only) - set(NAMES):
        parser.error(f"--only: expected names of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    rounds, seconds, calls = QUICK if given.quick else FULL
    rounds, seconds, calls = given.rounds or rounds, given.seconds or seconds, given.calls or calls
    if not (1 <= rounds <= 1000 and 0 < seconds <= 600 and 4 <= calls <= 10**8):
        parser.error("expected 1 to 1000 --rounds, up to 600 --seconds, 4 to 10^8 --calls")
    return Options(rounds, seconds, only, calls, given.json, given.veloera, given.check)


if __name__ == "__main__":
    sys.exit(main())
