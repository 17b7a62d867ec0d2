"""The simulator finds nothing, on seeds of every kind, and would find something if it were there."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.simulator.auditor import Auditor
from tests.simulator.bugs import BUGS
from tests.simulator.coverage import Covered
from tests.simulator.world import Outcome, run

FIRST_FRESH = int(os.environ.get("SIMULATOR_SEED") or secrets.randbits(31))
FRESH_LIMIT = 100
FRESH_LIMIT_S = 6
FIXED = range(1, 61)
FOUND_WITHIN_SEEDS = 120
KEPT = Path(__file__).with_name("seeds.txt")
SEEN_BY_LAWS = (
    "settle_ignores_the_version",
    "refund_ignores_its_key",
    "a_payment_is_credited_twice",
    "a_day_is_whatever_a_node_says",
    "hold_looks_at_no_floor",
    "a_code_is_used_twice_by_one_user",
    "every_poller_refunds_a_task",
    "a_dead_process_is_not_told_from_a_living_one",
    "a_guard_is_not_written",
)


@pytest.fixture(scope="module")
def swarm() -> list[Outcome]:
    """Outcomes of the seeds that are always the same, and of fresh ones as time allows."""
    outcomes = [run(seed) for seed in FIXED]
    until = time.monotonic() + FRESH_LIMIT_S
    for seed in range(FIRST_FRESH, FIRST_FRESH + FRESH_LIMIT):
        outcomes.append(run(seed))
        if time.monotonic() > until:
            break
    return outcomes


def kept_seeds() -> list[int]:
    return [int(line.split()[0]) for line in KEPT.read_text().splitlines() if line and not line.startswith("#")]


def breaches(outcomes: list[Outcome]) -> list[str]:
    return [f"seed {outcome.seed}: {outcome.breach}" for outcome in outcomes if outcome.breach]


def first_breach() -> str:
    return next((outcome.breach for seed in range(1, FOUND_WITHIN_SEEDS) if (outcome := run(seed)).breach), "")


def test_no_promise_is_broken_and_everything_comes_to_rest_whatever_fails(swarm: list[Outcome]):
    print(f"fresh seeds begin with SIMULATOR_SEED={FIRST_FRESH}")  # noqa: T201  (what a failing random test must leave behind)

    found = breaches(swarm)

    assert found == []


def test_every_command_is_carried_out_and_refused_and_every_fault_strikes(swarm: list[Outcome]):
    covered = Covered()

    for outcome in swarm:
        covered.add(outcome)

    assert covered.missing() == []


def test_seeds_that_once_failed_stay_clean():
    outcomes = [run(seed) for seed in kept_seeds()]

    assert breaches(outcomes) == []


def test_a_seed_gives_one_history_in_every_process():
    here = run(7).digest

    again = run(7).digest
    elsewhere = [digest_in_a_process(7, hash_seed) for hash_seed in ("1", "2")]

    assert [again, *elsewhere] == [here] * 3


def digest_in_a_process(seed: int, hash_seed: str) -> str:
    program = f"from tests.simulator.world import run; print(run({seed}).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_a_bug_that_is_planted_is_found(bug: Callable[[], AbstractContextManager[object]]):
    with bug():
        found = first_breach()

    assert found


@pytest.mark.parametrize("name", SEEN_BY_LAWS)
def test_the_laws_of_the_log_find_a_bug_that_the_auditor_makes_too(name: str):
    nothing = lambda *arguments: None  # noqa: E731

    with BUGS[name](), patch.multiple(Auditor, replied=nothing, agrees=nothing, agrees_wholly=nothing):
        found = first_breach()

    assert found
