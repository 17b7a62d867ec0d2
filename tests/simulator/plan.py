"""What one seed draws before anything happens: how many nodes, which faults how often, which work how much.

Each seed leaves some faults and some work out altogether: what is always there hides what it makes impossible.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

FAULTS: dict[str, float] = {
    "fail_before_commit": 0.06,
    "lost_acknowledgement": 0.08,
    "slow_request": 0.03,
    "slow_acknowledgement": 0.03,
    "duplicate_delivery": 0.08,
    "crash_before_commit": 0.012,
    "crash_after_commit": 0.012,
    "commit_of_the_dead": 0.5,
    "crash_before_answer": 0.05,
    "crash_of_a_node": 0.05,
    "shutdown": 0.03,
    "outage": 0.02,
    "fail_over": 0.02,
    "clock_step": 0.05,
    "lead_lost_unseen": 0.03,
    "connection_lost": 0.05,
    "client_gone": 0.15,
    "client_cancelled": 0.08,
    "client_impatient": 0.1,
    "upstream_failed": 0.1,
    "upstream_cut": 0.1,
    "upstream_ignores_bounds": 0.15,
    "spool_full": 0.1,
    "projection_crash": 0.1,
    "projection_fed_twice": 0.2,
    "projection_rebuilt": 0.05,
    "redis_stale_count": 0.2,
    "redis_lost_key": 0.1,
    "redis_phantom_key": 0.1,
    "redis_lost_wake_up": 0.2,
    "redis_late_wake_up": 0.2,
    "redis_down": 0.1,
}
"""Every fault, and how often it happens where a seed wants it in the middle: a share of its occasions."""

ONLY_ON_A_SERVER = frozenset({"fail_over", "commit_of_the_dead", "clock_step", "spool_full", "outage"})
"""One file on one machine has no standby and one clock, and a process that is dead writes nothing more."""


@dataclass(frozen=True)
class Plan:
    """One seed's world."""

    seed: int
    ticks: int
    nodes: int
    embedded: bool
    """Processes of one machine on one file: a dead process is known to be dead. Else machines with a database server."""
    start_ms: int
    users: int
    rates: dict[str, float]
    work: dict[str, float]
    work_per_tick: float
    ttl_ms: int
    batch_limit: int
    queue_limit: int
    lag_ms: int
    """A node looks for new facts at least so often."""
    wake_ups: bool
    """A commit wakes the others, if Redis says so. Else they look by their timers only."""
    rich: bool
    """Somebody's account is nearly as full as an account can be."""


def drawn(seed: int, ticks: int, kinds: list[str]) -> tuple[Plan, Random]:
    """The plan of a seed, and the generator that everything after it draws from."""
    chance = Random(f"veloera simulator 1: {seed}")
    embedded = chance.random() < 0.3
    midnight = 1_800_057_600_000
    plan = Plan(
        seed=seed,
        ticks=ticks,
        nodes=chance.randint(2, 4),
        embedded=embedded,
        start_ms=midnight - chance.choice((chance.randint(1_000, 15_000), 40_000_000)),
        users=chance.randint(3, 8),
        rates={kind: _rate(chance, usual, embedded, kind) for kind, usual in FAULTS.items()},
        work={kind: chance.choice((0.0, 0.3, 1.0, 1.0, 3.0)) for kind in kinds},
        work_per_tick=chance.choice((0.5, 1.0, 2.0)),
        ttl_ms=chance.randint(2_000, 12_000),
        batch_limit=chance.choice((1, 3, 8, 32)),
        queue_limit=chance.choice((16, 64, 512)),
        lag_ms=chance.choice((250, 500, 1_000)),
        wake_ups=chance.random() < 0.5,
        rich=chance.random() < 0.1,
    )
    return plan, chance


def _rate(chance: Random, usual: float, embedded: bool, kind: str) -> float:
    factor = chance.choice((0.0, 0.0, 0.3, 1.0, 1.0, 3.0))
    if embedded and kind in ONLY_ON_A_SERVER:
        return 0.0
    return min(0.8, usual * factor)
