"""One seed for every random test of a run: shown where a test fails, and given again as LEDGER_SEED."""

from __future__ import annotations

import os
import random
import secrets

SEED = int(os.environ.get("LEDGER_SEED") or secrets.randbits(32))


def chance(*purpose: object) -> random.Random:
    """A generator of its own for each purpose, so that one test's draws never move another's."""
    return random.Random(f"{SEED}:{purpose}")


def show() -> None:
    """Say how to draw the same again; pytest shows it with a failure."""
    print(f"drawn with LEDGER_SEED={SEED}")  # noqa: T201  (what a failing random test must leave behind)


def examples(number: int) -> int:
    """How many examples a law draws: `number`, or LAW_PERCENT of it."""
    return max(1, number * int(os.environ.get("LAW_PERCENT", "100")) // 100)
