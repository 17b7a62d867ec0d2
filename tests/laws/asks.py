"""Commands as a test draws them: numbers that mean something in any world, however it has been left.

An `Ask` points at users, keys, charges, codes and payments by any number; `World.command` turns it into the command for what is
there by then, so that a drawn list can be shrunk, split and sent again.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from domain.commands import Command
from tests.laws import asks_charges, asks_credits, asks_quota, asks_registry
from tests.laws.oracle import LIMIT, Oracle
from tests.laws.world import START_MS, Ask, World

__all__ = ["ABOUT_ONE_CODE", "ABOUT_ONE_PAYMENT", "ABOUT_ONE_USER", "KINDS", "ON_A_CHARGE", "START_MS", "Ask", "World"]

Made = Callable[[World, Ask], Command]

MADE: dict[str, Made] = {
    **asks_charges.MADE,
    **asks_quota.MADE,
    **asks_credits.MADE,
    **asks_registry.MADE,
}
"""Every kind of ask, and the command it becomes."""

ON_A_CHARGE = ("hold", "extend", "settle", "release", "expire", "refund", "accept", "end_task")
ABOUT_ONE_CODE = ("register_code", "redeem", "redeem", "redeem", "change_code", "delete_code", "code_status")
ABOUT_ONE_PAYMENT = ("order", "pay", "pay", "resolve", "fail_payment", "reverse")
ABOUT_ONE_USER = (
    "hold", "settle", "refund", "adjust_by", "adjust_seen", "open", "transfer", "credit_limit", "freeze", "unfreeze",
)  # fmt: skip
KINDS = (*MADE, *ON_A_CHARGE, "hold", "settle", "redeem", "pay")

edges = st.sampled_from([0, 1, 499, 500, 999, 1_000, 1_001, 10**6, 10**15, LIMIT - 1, LIMIT, LIMIT + 1, -LIMIT, 2**63])
amounts = st.one_of(st.integers(-2, 4_000), st.integers(0, 4_000), edges)


def ask(kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[Ask]:
    return st.builds(
        Ask,
        kind=st.sampled_from(kinds),
        who=st.integers(0, 4),
        which=st.integers(0, 11),
        amount=amounts,
        odd=st.integers(0, 20),
    )


def command(world: World, ask: Ask) -> Command:
    return MADE[ask.kind](world, ask)


def oracle_world() -> tuple[Oracle, World]:
    oracle = Oracle()
    return oracle, World(oracle)
