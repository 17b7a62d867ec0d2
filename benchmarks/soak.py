"""Long under load with an upstream that misbehaves: nothing may grow, nothing may stay open, and the ledger must add up.

`python -m benchmarks.soak --minutes 10` is `python -m benchmarks --only soak --minutes 10`. Every tenth call is a stream, and
some clients leave; how often the upstream does what is in `loopback_chaos.h`, and is said at the start.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.gateway import Product, Verified, gateway, verified
from benchmarks.loopback import Load, Plan, Target
from benchmarks.processes import open_files, quiet_cpu_s, rss_mb, sockets
from benchmarks.report import Goal, Row, Spread, compared
from benchmarks.rounds import Bench, Requests, say

LOAD_SHARE = 0.8
CONNECTIONS = 256
STREAM_EVERY = 10
LEAVE_EVERY = 97
"""No multiple of the above: calls and streams are left alike."""
STEPS_AT_LEAST = 4
STEP_S = 60
CEILING_S = 10
GROWTH_SHARE = 0.05
IDLE_WAIT_S = 90
"""Longer than an idle connection lives, on either side of the gateway."""
EXPECTED = frozenset({"200", "429", "500", "502", "503"})
"""What the upstream says, and what a client hears of an upstream that said nothing whole."""


def soak(bench: Bench, product: Product, folder: Path, requests: Requests, minutes: float) -> list[Row]:
    """LOAD_SHARE of what the gateway takes in a closed loop, for so long; a line a minute."""
    chaos = bench.loopback.show("chaos").decode().strip().splitlines()
    say("soak: the upstream, " + "; ".join(" ".join(line.split()) for line in chaos))
    where = folder / "soak"
    with bench.loopback.upstream(misbehaves=True) as upstream:
        with gateway(product, where, bench.cores.server, upstream.port) as fresh:
            files = [open_files(fresh.target.pid)]
            loads, sizes_mb = _loaded(bench, fresh.target, requests, minutes)
            idle = sockets(fresh.target.pid)
            left, waited_s = _left_open(fresh.target.pid)
            files.append(open_files(fresh.target.pid))
        say("soak: verifying the ledger")
        proof = verified(product, where)
    kept = f"{idle['established']} idle ones after the load, {left} after {waited_s:.0f} s; files {files[0]}, then {files[1]}"
    return [_calls(loads), _flat(sizes_mb, minutes), _sockets(left, kept), _proof(proof)]


def _loaded(bench: Bench, target: Target, requests: Requests, minutes: float) -> tuple[list[Load], list[float]]:
    """The loads of each minute, and the tree's resident MB after each."""
    step_s = min(STEP_S, minutes * 60 / STEPS_AT_LEAST)
    plan = Plan(
        connections=CONNECTIONS,
        seconds=min(CEILING_S, step_s),
        other=requests.stream.body,
        other_every=STREAM_EVERY,
        leave_every=LEAVE_EVERY,
    )
    ceiling = bench.loopback.load(target, requests.call, plan).rps
    plan = replace(plan, seconds=step_s, rate=max(1, round(ceiling * LOAD_SHARE)))
    say(f"soak: {ceiling:,.0f} calls/s in a closed loop; {minutes:g} minutes at {plan.rate:,.0f}/s")
    loads: list[Load] = []
    sizes_mb: list[float] = []
    for number in range(1, round(minutes * 60 / step_s) + 1):
        loads.append(bench.loopback.load(target, requests.call, plan))
        sizes_mb.append(rss_mb(target.pid))
        say(f"soak: minute {number * step_s / 60:g}, {_told(loads[-1])}, {sizes_mb[-1]:.1f} MB")
    quiet_cpu_s(target.pid)
    return loads, sizes_mb


def _told(load: Load) -> str:
    statuses = ", ".join(f"{status} x {count:,}" for status, count in load.statuses.items())
    errors = load.errors
    return (
        f"{load.calls:,} calls: {statuses}; {errors.cut} cut, {errors.broken} broken, {load.left} left, "
        f"{errors.unfinished} unfinished; p50 {load.total_us.p50 / 1000:.1f}, p99 {load.total_us.p99 / 1000:.0f} ms"
    )


def _left_open(pid: int) -> tuple[int, float]:
    """How many TCP sockets beside the listening one are left once idle ones had their time, and how long that took."""
    start = time.monotonic()
    while (left := _connections(pid)) and time.monotonic() < start + IDLE_WAIT_S:
        time.sleep(1)
    return left, time.monotonic() - start


def _connections(pid: int) -> int:
    found = sockets(pid)
    return found["established"] + found["ending"]


def _calls(loads: Sequence[Load]) -> Row:
    statuses: Counter[str] = Counter()
    for load in loads:
        statuses.update(load.statuses)
    unfinished = sum(load.errors.unfinished for load in loads)
    told = ", ".join(f"{status} x {count:,}" for status, count in sorted(statuses.items()))
    cut, broken, left = (
        sum(counts)
        for counts in zip(*((load.errors.cut, load.errors.broken, load.left) for load in loads), strict=True)
    )
    return Row(
        name="soak",
        measure="calls",
        figure=Spread.of([statuses.total()]),
        goals=(
            Goal("all ended", unfinished == 0),
            Goal(f"only {', '.join(sorted(EXPECTED))}", statuses.keys() <= EXPECTED),
        ),
        note=f"{told}; {cut} streams cut, {broken} broken, {left} left by their client, {unfinished} unfinished",
    )


def _flat(sizes_mb: Sequence[float], minutes: float) -> Row:
    largest = max(sizes_mb[1:])
    note = f"MB after each of {len(sizes_mb)} parts: {', '.join(f'{size:.0f}' for size in sizes_mb)}"
    measure = f"MB at most, in {minutes:g} minutes"
    return compared("soak", measure, [largest], "after the first", [sizes_mb[0]], at_most=[1 + GROWTH_SHARE], note=note)


def _sockets(left: int, note: str) -> Row:
    return Row(
        name="soak", measure="sockets left", figure=Spread.of([left]), goals=(Goal("none", left == 0),), note=note
    )


def _proof(proof: Verified) -> Row:
    return Row(
        name="soak",
        measure="facts verified",
        figure=Spread.of([proof.facts]),
        goals=(Goal("sound", proof.sound), Goal("no open hold", proof.open_holds == 0)),
        note=proof.first_difference or "",
    )


if __name__ == "__main__":
    from benchmarks.run import main

    sys.exit(main(["--only", "soak", *sys.argv[1:]]))
