"""The largest amounts an account may hold, and those just beyond: exact up to the edge, refused over it, never wrapped."""

from __future__ import annotations

import pytest

from domain import commands
from domain.books import Guard, Result
from domain.commands import Command
from tests.laws import calls
from tests.laws.memory import Memory

MOST_MILLS = 9 * 10**15 * 1_000
INT64 = 2**63 - 1


@pytest.fixture
def memory() -> Memory:
    """One user with nothing, and one key of theirs with a limit of nothing."""
    empty = Memory()
    ask(empty, calls.customer(), calls.key_of(1, limit=0))
    return empty


def test_an_account_holds_nine_thousand_million_million_quota_and_not_a_mill_more(memory: Memory) -> None:
    most = ask(memory, commands.Grant(user=1, amount=MOST_MILLS, why="opening"))
    more = ask(memory, commands.Grant(user=1, amount=1, why="gift"))

    assert (most.status, more.status) == ("created", "too_large")
    assert available(memory) == MOST_MILLS < INT64


@pytest.mark.parametrize("mills", [MOST_MILLS + 1, INT64, INT64 + 1, 2**64, 10**30])
def test_a_grant_over_the_edge_is_refused(memory: Memory, mills: int) -> None:
    assert ask(memory, commands.Grant(user=1, amount=mills, why="gift")).status == "too_large"
    assert available(memory) == 0


@pytest.mark.parametrize("quota", [9 * 10**15 + 1, 2**63, -(9 * 10**15) - 1, -(2**63)])
def test_a_correction_over_either_edge_is_refused(memory: Memory, quota: int) -> None:
    by_target = ask(memory, commands.Adjust(command_key="t", user=1, target=quota))
    by_delta = ask(memory, commands.Adjust(command_key="d", user=1, delta=quota * 1_000))

    assert (by_target.status, by_delta.status) == ("too_large", "too_large")
    assert available(memory) == 0


@pytest.mark.parametrize("how", ["grant", "adjust_by", "adjust_to"])
def test_what_is_held_counts_as_well_so_that_it_can_always_be_given_back(memory: Memory, how: str) -> None:
    ask(memory, commands.Grant(user=1, amount=MOST_MILLS, why="opening"), calls.hold(MOST_MILLS))

    refused = ask(memory, gift(how, MOST_MILLS))

    assert refused.status == "too_large"
    assert ask(memory, calls.release()).status == "created"
    assert available(memory) == MOST_MILLS


def test_a_limit_counts_what_is_held_of_it(memory: Memory) -> None:
    ask(memory, commands.Grant(user=1, amount=MOST_MILLS, why="opening"))
    ask(memory, commands.LimitKey(key=1, target=MOST_MILLS), calls.hold(MOST_MILLS, capped=True))

    refused = ask(memory, commands.LimitKey(key=1, target=MOST_MILLS))

    assert refused.status == "invalid"
    assert ask(memory, calls.release(capped=True)).status == "created"
    assert all(abs(guard.balance) <= INT64 for guard in memory.balances.values())


@pytest.mark.parametrize("mills", [MOST_MILLS + 1, INT64 + 1, 10**30])
def test_a_hold_of_more_than_there_can_be_is_insufficient(memory: Memory, mills: int) -> None:
    ask(memory, commands.Grant(user=1, amount=MOST_MILLS, why="opening"))

    refused = ask(memory, calls.hold(mills))

    assert (refused.status, refused.needed, refused.available) == ("insufficient", mills, MOST_MILLS)


def test_a_cost_above_the_balance_is_paid_as_far_as_that_goes_and_written_off_beyond(
    memory: Memory,
) -> None:
    ask(memory, commands.Grant(user=1, amount=10, why="opening"), calls.hold(1))

    result = ask(memory, calls.settle(MOST_MILLS))

    assert result.status == "created"
    assert available(memory) == 0
    assert dict(result.fact.postings if result.fact else ())["platform:writeoff"] == 10 - MOST_MILLS


@pytest.mark.parametrize("mills", [MOST_MILLS + 1, INT64, INT64 + 1, 2**64, 10**30])
def test_a_cost_that_no_account_could_hold_is_refused(memory: Memory, mills: int) -> None:
    ask(memory, commands.Grant(user=1, amount=10, why="opening"), calls.hold(1))

    assert ask(memory, calls.settle(mills)).status == "invalid"
    assert available(memory) == 9


@pytest.mark.parametrize("mills", [-1, -MOST_MILLS])
def test_nothing_negative_is_held_granted_or_charged(memory: Memory, mills: int) -> None:
    ask(memory, commands.Grant(user=1, amount=5, why="opening"), calls.hold(1))
    grant = commands.Grant(user=1, amount=mills, why="gift")
    refused = [calls.hold(mills, calls.charge(9)), calls.extend(1, mills), grant, calls.settle(mills)]

    assert [ask(memory, command).status for command in refused] == ["invalid"] * 4
    assert available(memory) == 4


def test_an_overdraft_made_by_an_administrator_takes_no_hold_not_even_of_nothing(memory: Memory) -> None:
    ask(memory, commands.Adjust(command_key="down", user=1, delta=-1))

    refused = ask(memory, calls.hold(0))

    assert (refused.status, refused.available) == ("insufficient", -1)


def ask(memory: Memory, *batch: Command) -> Result:
    """The last answer."""
    return memory.commit(batch, 1_800_000_000_000).results[-1]


def available(memory: Memory) -> int:
    return memory.balances.get("user:1:available", Guard(0)).balance


def gift(how: str, mills: int) -> Command:
    if how == "grant":
        return commands.Grant(user=1, amount=mills, why="gift")
    if how == "adjust_by":
        return commands.Adjust(command_key="a", user=1, delta=mills)
    return commands.Adjust(command_key="a", user=1, target=mills // 1_000)
