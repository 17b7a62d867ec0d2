"""What each row of the report is made of, and what the project has promised for it.

Where there are two targets, the first is what the house was built to and the second what its own HTTP is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop

from benchmarks.gateway import CALL_MILLS, STREAM_MILLS, Gateway
from benchmarks.loopback import Plan, Request, Target
from benchmarks.processes import Cores, on_core, pss_mb, rss_mb
from benchmarks.report import Goal, Row, Spread, compared
from benchmarks.rounds import (
    CONNECTIONS,
    DELTAS,
    LARGE_BYTES,
    PACE_MS,
    RATE,
    WIDE_CONNECTIONS,
    Bench,
    Requests,
    Sample,
    Steps,
    failures,
    say,
)

CALL_UNITS = (2.5, 0.7)
CALL_PARSER_UNITS = 5
STREAM_UNITS = 6
EVENT_UNITS = 0.6
WIDE_UNITS = 1
WIDE_TOLERANCE = 0.05
LARGE_UNITS = 1.5
P50_ABOVE_MS = (2, 1.5)
P99_ABOVE_MS = (5, 3)
P99_ECHO_MS = 2
P99_UNITS = 3
RSS_MB = 150
GROWTH_SHARE = 0.05
BATCH_GAIN = 4
POSTGRES_GAIN = 3
BATCH_LIMIT = 256
MEMORY_STEPS = 4
MEMORY_STEP_S = 900

Samples = Mapping[str, Sequence[Sample]]
NEEDS = {
    "calls": ("echo call", "uvicorn call", "gateway call"),
    "wide": ("gateway call", "gateway wide"),
    "large": ("gateway call", "gateway large", "gateway large both"),
    "streams": ("echo call", "echo stream", "gateway stream"),
    "paced": ("echo call", "gateway paced"),
    "events": ("echo call", "echo paced", "gateway call", "gateway paced"),
    "latency": ("echo rate", "gateway rate"),
    "ceiling": ("echo call", "echo stream", "call apart", "stream apart", "call together", "stream together"),
}
"""The steps that a row compares."""
ALONE = ("memory", "open", "ledger", "soak")
"""Rows that are not made of rounds of steps."""
PAID_CALLS = ("gateway call", "gateway wide", "gateway large", "gateway large both", "gateway rate")
PAID_STREAMS = ("gateway stream", "gateway paced")


@dataclass(frozen=True)
class Servers:
    """Whom the steps call: both units, the upstream itself, and the gateway where a row needs it."""

    echo: Target
    uvicorn: Target
    upstream: Target
    gateway: Target | None = None


def steps(bench: Bench, requests: Requests, servers: Servers) -> Steps:
    """How each step is taken; those of the gateway only where there is one."""

    def step(
        target: Target, request: Request, *, connections: int = CONNECTIONS, rate: float = 0, core: int | None = None
    ) -> Callable[[], Sample]:
        return lambda: bench.sample(target, request, connections=connections, rate=rate, core=core)

    echo, upstream, gateway = servers.echo, servers.upstream, servers.gateway
    found = {
        "echo call": step(echo, requests.echo),
        "echo stream": step(echo, requests.echo_stream),
        "echo paced": step(echo, requests.echo_paced),
        "echo rate": step(echo, requests.echo, rate=RATE),
        "uvicorn call": step(servers.uvicorn, requests.echo),
        "call apart": step(upstream, requests.call, core=bench.cores.server),
        "stream apart": step(upstream, requests.stream, core=bench.cores.server),
        "call together": step(upstream, requests.call),
        "stream together": step(upstream, requests.stream),
    }
    if gateway is not None:
        found["gateway call"] = step(gateway, requests.call)
        found["gateway wide"] = step(gateway, requests.call, connections=WIDE_CONNECTIONS)
        found["gateway large"] = step(gateway, requests.large)
        found["gateway large both"] = step(gateway, requests.large_both)
        found["gateway stream"] = step(gateway, requests.stream)
        found["gateway paced"] = step(gateway, requests.paced)
        found["gateway rate"] = step(gateway, requests.call, rate=RATE)
    return found


def of_rounds(name: str, samples: Samples) -> list[Row]:
    """The rows called `name`. A row with failed calls is not met, whatever its figure."""
    failure = failures(*(samples[step] for step in NEEDS[name]))
    return [row.failed(failure) for row in BUILDERS[name](samples)]


def billing(gateway: Gateway, before_mills: int, samples: Samples) -> Row:
    """What all calls of the rounds were charged, beside what they cost."""
    charged = before_mills - gateway.balance_mills()
    calls, streams = (
        sum(sample.load.calls - sample.load.errors.non_200 for step in paid for sample in samples.get(step, ()))
        for paid in (PAID_CALLS, PAID_STREAMS)
    )
    due = calls * CALL_MILLS + streams * STREAM_MILLS
    return Row(
        name="billing",
        measure="mills charged",
        figure=Spread.of([charged]),
        unit_of="calls x price",
        unit=Spread.of([due]),
        multiple=Spread.of([charged / due if due else 0]),
        goals=(Goal("= 1 x, to a quota", abs(charged - due) < 1000),),
        note=f"{calls} calls, {streams} streams",
    )


def memory(bench: Bench, gateway: Target, echo: Target, request: Request, calls: int) -> list[Row]:
    """Resident memory of the gateway's process tree, after every quarter of `calls`."""
    counts, sizes, failed = [0], [rss_mb(gateway.pid)], ""
    for _ in range(MEMORY_STEPS):
        plan = Plan(connections=CONNECTIONS, seconds=MEMORY_STEP_S, calls=calls // MEMORY_STEPS)
        load = bench.loopback.load(gateway, request, plan)
        failed = failed or Sample(load, 0).failure
        counts.append(counts[-1] + load.calls)
        sizes.append(rss_mb(gateway.pid))
        say(f"memory: {sizes[-1]:.1f} MB after {counts[-1]:,} calls")
    course = ", ".join(f"{size:.0f} at {count:,}" for count, size in zip(counts, sizes, strict=True))
    note = f"{course}; proportional {pss_mb(gateway.pid):.0f}"
    size = compared("memory", "MB resident", [sizes[-1]], "echo", [rss_mb(echo.pid)], note=note)
    growth = compared(
        "memory", "MB after all calls", [sizes[-1]], "after a quarter", [sizes[1]], at_most=[1 + GROWTH_SHARE]
    )
    return [size.aiming(Goal.at_most(sizes[-1], RSS_MB, "MB")).failed(failed), growth.failed(failed)]


def ledger(folder: Path, core: int, rounds: int, seconds: float) -> list[Row]:
    """Commands a second on one hot account, beside the same writer without batches; loop and writer on `core`."""
    try:
        from benchmarks.ledger_bench import hold_and_settle
    except ImportError as error:
        say(f"ledger: skipped, the ledger cannot be imported: {error}")
        return []
    rates: dict[int, list[float]] = {BATCH_LIMIT: [], 1: []}
    for number in range(rounds):
        for limit, found in rates.items():
            store = folder / f"ledger-{number}-{limit}"
            with on_core(core), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found.append(runner.run(hold_and_settle(store, limit, seconds, CONNECTIONS)).commands_per_s)
    return [
        compared(
            "ledger", "commands/s", rates[BATCH_LIMIT], "batch limit 1", rates[1], at_least=[BATCH_GAIN],
            note=f"holds and settlements on one account, {CONNECTIONS} clients",
        )
    ]  # fmt: skip


def ledger_on_postgres(cores: Cores, rounds: int, seconds: float) -> list[Row]:
    """The same on a server that waits for its disk, from a process on each core; the server has what they leave it."""
    try:
        from benchmarks.ledger_bench import rates_on_postgres
        from tests.harness.postgres import Server
    except ImportError as error:
        say(f"ledger: skipped on PostgreSQL: {error}")
        return []
    with on_core(cores.server, cores.load), Server(fsync=True) as server:
        rates = rates_on_postgres(server, (cores.server, cores.load), (BATCH_LIMIT, 1), rounds, seconds, CONNECTIONS)
    return [
        compared(
            "ledger", "commands/s, PostgreSQL", rates[BATCH_LIMIT], "batch limit 1", rates[1], at_least=[POSTGRES_GAIN],
            note=f"two processes on one account, {CONNECTIONS} clients each, synchronous_commit=on",
        )
    ]  # fmt: skip


def _calls(samples: Samples) -> list[Row]:
    unit, parser, product = samples["echo call"], samples["uvicorn call"], samples["gateway call"]
    return [
        compared("calls", "CPU us/call", _cpu(product), "echo", _cpu(unit), at_most=CALL_UNITS),
        compared("calls", "CPU us/call", _cpu(product), "uvicorn echo", _cpu(parser), at_most=[CALL_PARSER_UNITS]),
        compared("calls", "calls/s", _rps(product), "echo", _rps(unit)),
    ]


def _wide(samples: Samples) -> list[Row]:
    usual, wide = _cpu(samples["gateway call"]), _cpu(samples["gateway wide"])
    row = compared("wide", f"CPU us/call at {WIDE_CONNECTIONS}", wide, f"at {CONNECTIONS}", usual)
    assert row.multiple, "two steps are compared"
    met = row.multiple.median <= WIDE_UNITS * (1 + WIDE_TOLERANCE)
    return [row.aiming(Goal(f"<= {WIDE_UNITS} x (+ {WIDE_TOLERANCE:.0%})", met))]


def _large(samples: Samples) -> list[Row]:
    usual = _cpu(samples["gateway call"])
    sizes = f"{LARGE_BYTES:,} bytes in"
    return [
        compared("large", f"CPU us/call, {what}", _cpu(samples[step]), "1 KB", usual, at_most=[LARGE_UNITS])
        for what, step in ((sizes, "gateway large"), (f"{sizes} and out", "gateway large both"))
    ]


def _streams(samples: Samples) -> list[Row]:
    call, stream, product = samples["echo call"], samples["echo stream"], samples["gateway stream"]
    return [
        compared("streams", "CPU us/stream", _cpu(product), "echo call", _cpu(call), at_most=[STREAM_UNITS]),
        compared("streams", "CPU us/stream", _cpu(product), "echo stream", _cpu(stream)),
        compared("streams", "events/s", _events(product), "echo stream", _events(stream)),
    ]


def _paced(samples: Samples) -> list[Row]:
    product = samples["gateway paced"]
    first = Spread.of([sample.load.first_byte_us.p50 / 1000 for sample in product])
    note = f"events {PACE_MS} ms apart; first byte after {first.text()} ms"
    return [compared("paced", "CPU us/stream", _cpu(product), "echo call", _cpu(samples["echo call"]), note=note)]


def _event_costs(samples: Samples) -> list[Row]:
    """An event's own cost, on both sides: a paced stream without what a call costs anyway."""
    ours, theirs = (
        [(stream - call) / DELTAS for stream, call in zip(_cpu(samples[paced]), _cpu(samples[plain]), strict=True)]
        for paced, plain in (("gateway paced", "gateway call"), ("echo paced", "echo call"))
    )
    note = f"of {DELTAS} events {PACE_MS} ms apart, beyond one call"
    return [compared("events", "CPU us/event", ours, "echo event", theirs, at_most=[EVENT_UNITS], note=note)]


def _latency(samples: Samples) -> list[Row]:
    unit, product = samples["echo rate"], samples["gateway rate"]
    rows: list[Row] = []
    for name, unit_ms, product_ms in (("p50", _p50(unit), _p50(product)), ("p99", _p99(unit), _p99(product))):
        above = Spread.of([ours - theirs for ours, theirs in zip(product_ms, unit_ms, strict=True)])
        row = compared("latency", f"{name} ms at {RATE}/s", product_ms, "echo", unit_ms)
        rows.append(msgspec.structs.replace(row, above=above))
    return [_above(rows[0], P50_ABOVE_MS), _judged_p99(rows[1])]


def _above(row: Row, limits_ms: Sequence[float]) -> Row:
    assert row.above, "latency rows carry a difference"
    return row.aiming(*(Goal.at_most(row.above.median, limit, "ms above") for limit in limits_ms))


def _judged_p99(row: Row) -> Row:
    """Where the bare echo itself is slow in its last percent, the machine is: a multiple says more than a difference."""
    assert row.unit, "latency rows are compared"
    assert row.multiple, "latency rows are compared"
    if row.unit.median <= P99_ECHO_MS:
        return _above(row, P99_ABOVE_MS)
    within = row.multiple.median <= P99_UNITS
    goals = (Goal(f"{goal.text} or <= {P99_UNITS} x", goal.met or within) for goal in _above(row, P99_ABOVE_MS).goals)
    return row.aiming(*goals)


def _ceiling(samples: Samples) -> list[Row]:
    call, stream = samples["echo call"], samples["echo stream"]
    rows: list[Row] = []
    for place, note in (("apart", "a core each"), ("together", "on one core, as in the rows above")):
        rows += [
            compared("ceiling", "calls/s", _rps(samples[f"call {place}"]), "echo", _rps(call), note=note),
            compared("ceiling", "events/s", _events(samples[f"stream {place}"]), "echo", _events(stream), note=note),
        ]
    return rows


def _cpu(samples: Sequence[Sample]) -> list[float]:
    return [sample.cpu_us_per_call for sample in samples]


def _rps(samples: Sequence[Sample]) -> list[float]:
    return [sample.load.rps for sample in samples]


def _events(samples: Sequence[Sample]) -> list[float]:
    return [sample.load.events_per_s for sample in samples]


def _p50(samples: Sequence[Sample]) -> list[float]:
    return [sample.load.total_us.p50 / 1000 for sample in samples]


def _p99(samples: Sequence[Sample]) -> list[float]:
    return [sample.load.total_us.p99 / 1000 for sample in samples]


BUILDERS: Mapping[str, Callable[[Samples], list[Row]]] = {
    "calls": _calls,
    "wide": _wide,
    "large": _large,
    "streams": _streams,
    "paced": _paced,
    "events": _event_costs,
    "latency": _latency,
    "ceiling": _ceiling,
}
