"""How low a balance may go: credit limits, freezes, and the corrections that may pass them."""

from __future__ import annotations

import msgspec
import pytest

from domain import commands
from domain.books import Guard
from domain.commands import Command
from domain.events import ChargeSettled, ChargeSettledLate
from tests.laws import calls
from tests.laws.asking import MOST, TODAY, ask, available, balance, deletion, statuses
from tests.laws.memory import Memory

FREEZE, UNFREEZE = commands.Freeze(user=1), commands.Unfreeze(user=1)
SECOND = calls.charge(2)


@pytest.fixture
def memory() -> Memory:
    """One user with 1,000 mills and an unlimited key."""
    empty = Memory()
    ask(empty, calls.customer(grant=1_000), calls.key_of(1))
    return empty


def credit(mills: int) -> commands.SetCreditLimit:
    return commands.SetCreditLimit(user=1, limit=mills)


def test_a_credit_limit_is_spent_to_its_end_and_not_a_mill_further(memory: Memory) -> None:
    ask(memory, credit(500))

    more, all_of_it = ask(memory, calls.hold(1_501)), ask(memory, calls.hold(1_500))

    assert (more.status, more.available, all_of_it.status) == ("insufficient", 1_500, "created")
    assert available(memory) == -500
    assert ask(memory, calls.hold(0, SECOND)).status == "created"


def test_a_settlement_above_its_hold_goes_down_to_the_credit_limit_and_is_written_off_below(memory: Memory) -> None:
    ask(memory, credit(500), calls.hold(1_000))

    result = ask(memory, calls.settle(1_700))

    assert isinstance(result.fact, ChargeSettled)
    assert (result.fact.paid, result.fact.written_off) == (1_500, 200)
    assert available(memory) == -500


def test_a_credit_limit_that_is_lowered_below_the_balance_only_stops_spending(memory: Memory) -> None:
    ask(memory, credit(500), calls.hold(300), calls.hold(1_000, SECOND), calls.settle(1_000, SECOND), credit(100))

    refused = ask(memory, calls.hold(0, calls.charge(3)))

    assert (refused.status, refused.available) == ("insufficient", -200)
    assert ask(memory, calls.settle(400)).status == "created"
    assert available(memory) == -300


@pytest.mark.parametrize("mills", [-1, MOST + 1])
def test_a_credit_limit_lies_between_nothing_and_the_most(memory: Memory, mills: int) -> None:
    refused = ask(memory, credit(mills))

    assert (refused.status, refused.needed) == ("invalid", mills)
    assert statuses(memory, credit(MOST), credit(0)) == ["created", "created"]


def test_with_the_largest_credit_no_more_is_held_than_one_account_holds(memory: Memory) -> None:
    ask(memory, commands.Grant(user=1, amount=MOST - 1_000, why="gift"), credit(MOST))

    over = ask(memory, calls.hold(MOST + 1))
    most = ask(memory, calls.hold(MOST))
    again = ask(memory, calls.hold(1, SECOND))

    assert [result.status for result in (over, most, again)] == ["too_large", "created", "too_large"]
    assert (again.account, again.needed) == ("user:1:held", MOST + 1)


@pytest.mark.parametrize("mills", [0, 1])
def test_nothing_new_is_held_for_a_frozen_user_not_even_nothing(memory: Memory, mills: int) -> None:
    ask(memory, FREEZE)

    refused = ask(memory, calls.hold(mills))

    assert (refused.status, refused.needed, refused.account) == ("frozen", mills, "user:1:available")


def test_a_stream_of_a_frozen_user_is_not_extended_and_is_settled(memory: Memory) -> None:
    ask(memory, calls.hold(300), FREEZE)

    assert statuses(memory, calls.extend(1, 10), calls.settle(200)) == ["frozen", "created"]
    assert available(memory) == 800


def test_what_a_frozen_user_owes_above_a_hold_is_written_off(memory: Memory) -> None:
    ask(memory, calls.hold(300), FREEZE)

    result = ask(memory, calls.settle(400))

    assert isinstance(result.fact, ChargeSettled)
    assert (result.fact.paid, result.fact.written_off) == (300, 100)
    assert available(memory) == 700


def test_a_late_settlement_takes_nothing_from_a_frozen_user(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.expire(), FREEZE)

    result = ask(memory, calls.settle(200))

    assert isinstance(result.fact, ChargeSettledLate)
    assert (result.fact.paid, available(memory)) == (0, 1_000)


def test_credits_still_arrive_at_a_frozen_user(memory: Memory) -> None:
    ask(memory, calls.hold(100), calls.settle(100), calls.code(5), calls.order(6), FREEZE)
    made: list[Command] = [
        commands.Grant(user=1, amount=1, why="gift"), commands.Adjust(command_key="a", user=1, delta=2), calls.refund(3),
        commands.CheckIn(user=1, day=TODAY, amount=4), calls.redeem(), calls.paid(),
        commands.Open(user=1, amount=7, source="s", row="r", digest="d"),
    ]  # fmt: skip

    assert set(statuses(memory, *made)) == {"created"}
    assert available(memory) == 900 + 1 + 2 + 3 + 4 + 5 + 6 + 7


def test_a_freeze_and_its_end_are_made_once(memory: Memory) -> None:
    given = statuses(memory, UNFREEZE, FREEZE, FREEZE, UNFREEZE, UNFREEZE, FREEZE)

    assert given == ["unchanged", "created", "unchanged", "created", "unchanged", "created"]


def test_the_end_of_a_freeze_brings_the_credit_limit_back(memory: Memory) -> None:
    ask(memory, credit(500), FREEZE, UNFREEZE)

    assert memory.balances["user:1:available"] == Guard(1_000, -500)


def test_a_credit_limit_set_during_a_freeze_holds_from_its_end(memory: Memory) -> None:
    ask(memory, FREEZE, credit(500))

    frozen = ask(memory, calls.hold(1)).status
    ask(memory, UNFREEZE)

    assert frozen == "frozen"
    assert memory.balances["user:1:available"] == Guard(1_000, -500)


def test_the_newest_credit_limit_counts(memory: Memory) -> None:
    assert statuses(memory, credit(500), credit(300), credit(500), credit(500)) == ["created"] * 3 + ["unchanged"]
    assert memory.balances["user:1:available"].floor == -500


def test_a_user_who_is_gone_or_never_was_has_no_standing(memory: Memory) -> None:
    ask(memory, deletion(1))

    strangers = [commands.Freeze(user=9), commands.Unfreeze(user=9), commands.SetCreditLimit(user=9, limit=1)]

    assert set(statuses(memory, FREEZE, UNFREEZE, credit(1), *strangers)) == {"not_found"}


def test_a_limited_key_of_a_frozen_user_is_refused_for_the_freeze(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, target=0), FREEZE)

    assert ask(memory, calls.hold(1, capped=True)).account == "user:1:available"


def test_only_a_correction_an_opening_and_a_reversal_leave_a_balance_below_its_floor(memory: Memory) -> None:
    ask(memory, calls.order(200), calls.paid(), calls.hold(1_200), calls.settle(1_200))

    ask(memory, commands.Adjust(command_key="a", user=1, delta=-1))
    ask(memory, commands.Open(user=1, amount=-10, source="s", row="r", digest="d"))
    ask(memory, calls.reverse())

    assert available(memory) == -211
    assert ask(memory, calls.hold(0, SECOND)).status == "insufficient"
    assert ask(memory, commands.Grant(user=1, amount=211, why="gift"), calls.hold(0, SECOND)).status == "created"


def test_an_opening_is_made_as_it_was_found_and_also_when_it_is_nothing(memory: Memory) -> None:
    opened = commands.Open(user=1, amount=-7, invite=9, used=5, calls=3, source="s", row="r1", digest="d")

    assert ask(memory, opened).status == "created"
    assert ask(memory, commands.Open(user=1, amount=0, source="s", row="r2", digest="d")).status == "created"
    assert (available(memory), balance(memory, "user:1:invite")) == (993, 9)


@pytest.mark.parametrize("delta", [1, -1])
@pytest.mark.parametrize("how", ["open", "adjust"])
def test_a_correction_reaches_either_edge_of_an_account_and_not_beyond(memory: Memory, how: str, delta: int) -> None:
    edge = delta * MOST - 1_000

    refused = ask(memory, corrected(how, edge + delta))
    reached = ask(memory, corrected(how, edge))

    assert (refused.status, refused.needed, refused.account) == ("too_large", delta * (MOST + 1), "user:1:available")
    assert (reached.status, available(memory)) == ("created", delta * MOST)


@pytest.mark.parametrize("how", ["open", "adjust"])
def test_a_correction_counts_what_is_held(memory: Memory, how: str) -> None:
    ask(memory, calls.hold(300))

    refused = ask(memory, corrected(how, MOST - 999))

    assert (refused.status, refused.needed, refused.available) == ("too_large", MOST + 1, MOST)
    assert ask(memory, corrected(how, MOST - 1_000)).status == "created"


@pytest.mark.parametrize(("field", "status"), [("used", "invalid"), ("calls", "invalid"), ("invite", "too_large")])
def test_an_openings_figures_fit_where_they_are_stored(memory: Memory, field: str, status: str) -> None:
    opened = commands.Open(user=1, amount=1, source="s", row="r", digest="d")

    over, under, most = (msgspec.structs.replace(opened, **{field: mills}) for mills in (MOST + 1, -MOST - 1, MOST))

    assert statuses(memory, over, under, most) == [status, "invalid", "created"]


def test_a_target_from_what_was_seen_keeps_what_happened_since(memory: Memory) -> None:
    ask(memory, commands.Adjust(command_key="up", user=1, delta=4_700), calls.hold(2_000), calls.settle(2_000))

    result = ask(memory, commands.Adjust(command_key="edit", user=1, target=8, seen=5))

    assert result.status == "created"
    assert available(memory) == 3_700 + 3_000


def test_a_correction_by_another_way_to_the_same_end_is_found(memory: Memory) -> None:
    ask(memory, commands.Adjust(command_key="a", user=1, target=3, seen=1))

    same = commands.Adjust(command_key="a", user=1, delta=2_000)
    shown = commands.Adjust(command_key="a", user=1, target=3)
    others = [
        commands.Adjust(command_key="a", user=2, delta=2_000),
        commands.Adjust(command_key="a", user=1, target=4, seen=2),
        commands.Adjust(command_key="a", user=1, target=4, seen=1),
        commands.Adjust(command_key="a", user=1, target=2),
    ]

    assert statuses(memory, same, shown) == ["exists", "exists"]
    assert set(statuses(memory, *others)) == {"exists_with_different"}


def corrected(how: str, mills: int) -> Command:
    if how == "open":
        return commands.Open(user=1, amount=mills, source="s", row="r", digest="d")
    return commands.Adjust(command_key="a", user=1, delta=mills)
