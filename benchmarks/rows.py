"""What each row of the report is made of, and what the project has promised for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop

from benchmarks.gateway import CALL_MILLS, STREAM_MILLS, Gateway
from benchmarks.loopback import Request, Target
from benchmarks.processes import on_core, pss_mb, rss_mb
from benchmarks.report import Row, Spread, compared
from benchmarks.rounds import CONNECTIONS, RATE, Bench, Requests, Sample, Steps, failures, say

CALL_UNITS = 2.5
STREAM_UNITS = 6
P50_ABOVE_MS = 2
P99_ABOVE_MS = 5
P99_ECHO_MS = 2
P99_UNITS = 3
RSS_MB = 150
GROWTH_SHARE = 0.05
BATCH_GAIN = 4
BATCH_LIMIT = 256
MEMORY_STEPS = 4
MEMORY_STEP_S = 900

Samples = Mapping[str, Sequence[Sample]]
NEEDS = {
    "calls": ("echo call", "gateway call"),
    "streams": ("echo call", "echo stream", "gateway stream"),
    "paced": ("echo call", "gateway paced"),
    "latency": ("echo rate", "gateway rate"),
    "ceiling": ("echo call", "echo stream", "call apart", "stream apart", "call together", "stream together"),
}
"""The steps that a row compares."""
ALONE = ("memory", "ledger")
"""Rows that are not made of rounds of steps."""


def steps(bench: Bench, requests: Requests, echo: Target, gateway: Target | None, upstream: Target) -> Steps:
    """How each step is taken; those of the gateway only where there is one."""

    def step(target: Target, request: Request, *, rate: float = 0, core: int | None = None) -> Callable[[], Sample]:
        return lambda: bench.sample(target, request, rate=rate, core=core)

    found = {
        "echo call": step(echo, requests.echo),
        "echo stream": step(echo, requests.echo_stream),
        "echo rate": step(echo, requests.echo, rate=RATE),
        "call apart": step(upstream, requests.call, core=bench.cores.server),
        "stream apart": step(upstream, requests.stream, core=bench.cores.server),
        "call together": step(upstream, requests.call),
        "stream together": step(upstream, requests.stream),
    }
    if gateway is not None:
        found["gateway call"] = step(gateway, requests.call)
        found["gateway stream"] = step(gateway, requests.stream)
        found["gateway paced"] = step(gateway, requests.paced)
        found["gateway rate"] = step(gateway, requests.call, rate=RATE)
    return found


def of_rounds(name: str, samples: Samples) -> list[Row]:
    """The rows called `name`. A row with failed calls is not met, whatever its figure."""
    builders = {"calls": _calls, "streams": _streams, "paced": _paced, "latency": _latency, "ceiling": _ceiling}
    failure = failures(*(samples[step] for step in NEEDS[name]))
    rows = builders[name](samples)
    return [msgspec.structs.replace(row, met=False, note=failure) for row in rows] if failure else rows


def billing(gateway: Gateway, before_mills: int, calls: int, streams: int) -> Row:
    """What all calls of the rounds were charged, beside what they cost."""
    charged = before_mills - gateway.balance_mills()
    due = calls * CALL_MILLS + streams * STREAM_MILLS
    return Row(
        name="billing",
        measure="mills charged",
        figure=Spread.of([charged]),
        unit_of="calls x price",
        unit=Spread.of([due]),
        multiple=Spread.of([charged / due if due else 0]),
        target="= 1 x, to a quota",
        met=abs(charged - due) < 1000,
        note=f"{calls} calls, {streams} streams",
    )


def memory(bench: Bench, gateway: Target, echo: Target, request: Request, calls: int) -> list[Row]:
    """Resident memory of the gateway's process tree, after every quarter of `calls`."""
    counts, sizes, failed = [0], [rss_mb(gateway.pid)], ""
    for _ in range(MEMORY_STEPS):
        load = bench.loopback.load(
            gateway, request, connections=CONNECTIONS, seconds=MEMORY_STEP_S, calls=calls // MEMORY_STEPS
        )
        failed = failed or Sample(load, 0).failure
        counts.append(counts[-1] + load.calls)
        sizes.append(rss_mb(gateway.pid))
        say(f"memory: {sizes[-1]:.1f} MB after {counts[-1]:,} calls")
    course = ", ".join(f"{size:.0f} at {count:,}" for count, size in zip(counts, sizes, strict=True))
    note = failed or f"{course}; proportional {pss_mb(gateway.pid):.0f}"
    size = compared("memory", "MB resident", [sizes[-1]], "echo", [rss_mb(echo.pid)], note=note)
    growth = compared("memory", "MB after all calls", [sizes[-1]], "after a quarter", [sizes[1]], note=failed)
    flat = growth.multiple is not None and growth.multiple.median <= 1 + GROWTH_SHARE
    return [
        msgspec.structs.replace(size, target=f"<= {RSS_MB} MB", met=sizes[-1] <= RSS_MB and not failed),
        msgspec.structs.replace(growth, target=f"<= {1 + GROWTH_SHARE:g} x", met=flat and not failed),
    ]


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
                found.append(runner.run(hold_and_settle(store, limit, seconds, CONNECTIONS)))
    return [
        compared(
            "ledger", "commands/s", rates[BATCH_LIMIT], "batch limit 1", rates[1], at_least=BATCH_GAIN,
            note=f"holds and settlements on one account, {CONNECTIONS} clients",
        )
    ]  # fmt: skip


def _calls(samples: Samples) -> list[Row]:
    unit, product = samples["echo call"], samples["gateway call"]
    return [
        compared("calls", "CPU us/call", _cpu(product), "echo", _cpu(unit), at_most=CALL_UNITS),
        compared("calls", "calls/s", _rps(product), "echo", _rps(unit)),
    ]


def _streams(samples: Samples) -> list[Row]:
    call, stream, product = samples["echo call"], samples["echo stream"], samples["gateway stream"]
    return [
        compared("streams", "CPU us/stream", _cpu(product), "echo call", _cpu(call), at_most=STREAM_UNITS),
        compared("streams", "CPU us/stream", _cpu(product), "echo stream", _cpu(stream)),
        compared("streams", "events/s", _events(product), "echo stream", _events(stream)),
    ]


def _paced(samples: Samples) -> list[Row]:
    product = samples["gateway paced"]
    first = Spread.of([sample.load.first_byte_us.p50 / 1000 for sample in product])
    note = f"events 10 ms apart; first byte after {first.text()} ms"
    return [compared("paced", "CPU us/stream", _cpu(product), "echo call", _cpu(samples["echo call"]), note=note)]


def _latency(samples: Samples) -> list[Row]:
    unit, product = samples["echo rate"], samples["gateway rate"]
    rows: list[Row] = []
    for name, unit_ms, product_ms in (("p50", _p50(unit), _p50(product)), ("p99", _p99(unit), _p99(product))):
        above = Spread.of([ours - theirs for ours, theirs in zip(product_ms, unit_ms, strict=True)])
        row = compared("latency", f"{name} ms at {RATE}/s", product_ms, "echo", unit_ms)
        rows.append(msgspec.structs.replace(row, above=above))
    return [_judged_p50(rows[0]), _judged_p99(rows[1])]


def _judged_p50(row: Row) -> Row:
    assert row.above, "latency rows carry a difference"
    return msgspec.structs.replace(row, target=f"<= {P50_ABOVE_MS} ms above", met=row.above.median <= P50_ABOVE_MS)


def _judged_p99(row: Row) -> Row:
    """Where the bare echo itself is slow in its last percent, the machine is: a multiple says more than a difference."""
    assert row.above, "latency rows carry a difference"
    assert row.unit, "latency rows are compared"
    assert row.multiple, "latency rows are compared"
    met, target = row.above.median <= P99_ABOVE_MS, f"<= {P99_ABOVE_MS} ms above"
    if row.unit.median > P99_ECHO_MS:
        met, target = met or row.multiple.median <= P99_UNITS, f"{target} or <= {P99_UNITS} x"
    return msgspec.structs.replace(row, target=target, met=met)


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
