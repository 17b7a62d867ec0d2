"""Many streams that are open at once and say little: what each costs in memory, and whether they delay one another."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.gateway import Product, gateway
from benchmarks.loopback import Load, Plan, Request, Target
from benchmarks.processes import quiet_cpu_s, rss_mb, sockets
from benchmarks.report import Goal, Row, Spread
from benchmarks.rounds import CONNECTIONS, Bench, Requests, Sample, chat, say

STREAM_KB = 60
GAP_ABOVE_MS = 20
EVENTS = 16
"""Of one stream."""
BEGUN_PER_S = 250
MANY = 500
LOOKS = 3
WARM_UP_S = 1.0


def open_streams(
    bench: Bench, product: Product, folder: Path, upstream: Target, requests: Requests, streams: int
) -> list[Row]:
    """So many streams through a gateway of their own, and the same ones straight from the upstream.

    They are begun one after the other, and all are open for at least half of their time. The gateway may have as many
    connections to its upstream as there are streams, which is more than its default.
    """
    pace_ms = 1000 if streams > MANY else 250  # a trial is over sooner
    request = chat(folder / "open.json", f"bench-{pace_ms}ms-{EVENTS}x", stream=True)
    lasts_s, ramp_s = EVENTS * pace_ms / 1000, streams / BEGUN_PER_S
    plan = Plan(connections=streams, seconds=ramp_s, rate=BEGUN_PER_S, drain_s=lasts_s + 10, gaps=True)
    say(f"open: {streams:,} streams straight from the upstream, for {ramp_s + lasts_s:.0f} s")
    direct = bench.loopback.load(upstream, request, plan)
    say(f"open: the same through a gateway, for {ramp_s + lasts_s:.0f} s")
    settings = {"UPSTREAM_CONNECTIONS": str(streams + CONNECTIONS)}
    with gateway(product, folder / "open", bench.cores.server, upstream.port, settings=settings) as fresh:
        bench.loopback.load(fresh.target, requests.stream, Plan(connections=CONNECTIONS, seconds=WARM_UP_S))
        quiet_cpu_s(fresh.target.pid)
        load, sizes_mb, open_at_once = _watched(bench, fresh.target, request, plan, all_open_s=(ramp_s, lasts_s))
    failure = Sample(direct, 0).failure or Sample(load, 0).failure
    if open_at_once < streams:
        failure = failure or f"only {open_at_once} of {streams} streams were open at once"
    return [_memory(sizes_mb, streams).failed(failure), _gaps(load, direct).failed(failure)]


def _watched(
    bench: Bench, target: Target, request: Request, plan: Plan, *, all_open_s: tuple[float, float]
) -> tuple[Load, list[float], int]:
    """The load, the tree's resident MB before it and while all streams were open, and how many were.

    It is looked at a few times only: who looks is on the core of the load generator, and would be in its gaps.
    """
    sizes_mb = [rss_mb(target.pid)]
    begin_s, end_s = all_open_s
    with bench.loopback.loading(target, request, plan) as running:
        start = time.monotonic()
        for look in range(1, LOOKS + 1):
            due = start + begin_s + (end_s - begin_s) * look / (LOOKS + 1)
            time.sleep(max(0, due - time.monotonic()))
            sizes_mb.append(rss_mb(target.pid))
        both_ends = sockets(target.pid)["established"]
        return running.result(), sizes_mb, both_ends // 2


def _memory(sizes_mb: list[float], streams: int) -> Row:
    stream_kb = (max(sizes_mb[1:]) - sizes_mb[0]) * 1000 / streams
    return Row(
        name="open",
        measure=f"KB resident a stream, {streams:,} open",
        figure=Spread.of([stream_kb]),
        goals=(Goal.at_most(stream_kb, STREAM_KB, "KB"),),
        note=f"{sizes_mb[0]:.1f} MB before, {max(sizes_mb[1:]):.1f} MB with all of them",
    )


def _gaps(load: Load, direct: Load) -> Row:
    """A gap's growth: how much longer it was for the client than between the upstream's own two sendings."""
    ours_ms, theirs_ms = load.gap_growth_us.max / 1000, direct.gap_growth_us.max / 1000
    note = (
        f"p99 of streams {load.gap_growth_us.p99 / 1000:.2f}, direct {direct.gap_growth_us.p99 / 1000:.2f}; longest gap "
        f"{load.gap_us.max / 1000:,.0f}, direct {direct.gap_us.max / 1000:,.0f} ms"
    )
    return Row(
        name="open",
        measure="ms that a gap grew, worst stream",
        figure=Spread.of([ours_ms]),
        unit_of="direct",
        unit=Spread.of([theirs_ms]),
        above=Spread.of([ours_ms - theirs_ms]),
        goals=(Goal.at_most(ours_ms - theirs_ms, GAP_ABOVE_MS, "ms above"),),
        note=note,
    )
