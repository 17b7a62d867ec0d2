"""A payment at the edges: what fits its order and what does not, what a person does about it, and what goes back."""

from __future__ import annotations

import msgspec
import pytest

from domain import commands
from domain.events import TopUpFlagged, TopUpSettled
from tests.laws import calls
from tests.laws.asking import MOST, NOW, ask, available, balance, deletion, moved, statuses, written
from tests.laws.memory import Memory


@pytest.fixture
def memory() -> Memory:
    """Two users with nothing."""
    empty = Memory()
    ask(empty, calls.customer("ada"), calls.customer("bob"))
    return empty


FAILED = commands.FailTopUp(provider="pay", trade="T1", user=1, why="expired")


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("provider", "p" * 32, "created"),
        ("provider", "p" * 33, "invalid"),
        ("provider", "", "invalid"),
        ("provider", "Pay", "invalid"),
        ("provider", "a:b", "invalid"),
        ("provider", "a-b_9", "created"),
        ("trade", "T" * 128, "created"),
        ("trade", "T" * 129, "invalid"),
        ("trade", "", "invalid"),
        ("trade", "T", "created"),
        ("currency", "eur", "invalid"),
        ("currency", "EU", "invalid"),
        ("currency", "EURO", "invalid"),
        ("currency", "EUR\n", "invalid"),
        ("money_minor", 1, "created"),
        ("money_minor", 0, "invalid"),
        ("money_minor", -1, "invalid"),
        ("money_minor", MOST, "created"),
        ("money_minor", MOST + 1, "invalid"),
        ("amount", 1, "created"),
        ("amount", 0, "invalid"),
        ("amount", -1, "invalid"),
        ("amount", MOST, "created"),
        ("amount", MOST + 1, "invalid"),
        ("user", 9, "not_found"),
    ],
)
def test_an_order_names_its_provider_its_money_and_what_it_buys(
    memory: Memory, field: str, value: object, status: str
) -> None:
    assert ask(memory, msgspec.structs.replace(calls.order(5), **{field: value})).status == status


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("provider", "p" * 32, "flagged"),
        ("provider", "p" * 33, "invalid"),
        ("trade", "T" * 128, "flagged"),
        ("trade", "T" * 129, "invalid"),
        ("trade", "", "invalid"),
        ("money_minor", MOST, "flagged"),
        ("money_minor", -MOST, "flagged"),
        ("money_minor", MOST + 1, "invalid"),
        ("money_minor", -MOST - 1, "invalid"),
    ],
)
def test_a_notice_about_nothing_known_is_flagged_unless_it_cannot_be_stored(
    memory: Memory, field: str, value: object, status: str
) -> None:
    assert ask(memory, msgspec.structs.replace(calls.paid(user=0), **{field: value})).status == status


def test_a_payment_says_for_which_reason_it_was_flagged(memory: Memory) -> None:
    ask(memory, calls.order(5), calls.order(5, "T2", user=2), deletion(2))
    notices = [
        calls.paid("T9", user=0), calls.paid(currency="USD", money=7), calls.paid(money=7), calls.paid("T2", user=2)
    ]  # fmt: skip

    flagged = [ask(memory, notice) for notice in notices]

    assert [result.why for result in flagged] == ["unknown_order", "currency", "amount", "user_deleted"]
    assert {result.status for result in flagged} == {"flagged"}
    users = [result.fact.user for result in flagged if isinstance(result.fact, TopUpFlagged)]
    assert users == [0, 1, 1, 2]


def test_the_same_odd_notice_is_written_down_once_and_another_one_beside_it(memory: Memory) -> None:
    odd = calls.paid(user=0)

    assert statuses(memory, odd, odd, msgspec.structs.replace(odd, provider_event="e2"), odd) == ["flagged"] * 4
    assert len(written(memory, TopUpFlagged)) == 2


def test_the_same_odd_notice_an_hour_later_is_no_news(memory: Memory) -> None:
    ask(memory, calls.paid(user=0))

    assert ask(memory, calls.paid(user=0), now=NOW + 3_600_000).status == "flagged"
    assert len(written(memory, TopUpFlagged)) == 1


def test_a_payment_that_fits_was_credited_by_nobody_in_particular(memory: Memory) -> None:
    ask(memory, calls.order(5))

    result = ask(memory, calls.paid())

    assert isinstance(result.fact, TopUpSettled)
    assert (result.fact.actor, result.fact.reason) == (0, "")


def test_a_notice_with_another_user_than_its_order_has_to_look_again(memory: Memory) -> None:
    ask(memory, calls.order(5))

    assert ask(memory, calls.paid(user=2)).status == "stale"
    assert (available(memory, 1), available(memory, 2)) == (0, 0)


def test_a_notice_that_fits_is_credited_after_one_that_did_not(memory: Memory) -> None:
    ask(memory, calls.order(5), calls.paid(money=7))

    assert ask(memory, calls.paid()).status == "created"
    assert available(memory) == 5


def test_no_order_is_placed_under_a_number_that_money_has_come_for(memory: Memory) -> None:
    ask(memory, calls.paid(user=0))

    assert ask(memory, calls.order(5)).status == "exists_with_different"


def test_a_payment_that_does_not_fit_into_the_account_is_refused_and_fits_later(memory: Memory) -> None:
    ask(memory, calls.order(5), commands.Grant(user=1, amount=MOST - 4, why="gift"))

    refused = ask(memory, calls.paid())
    ask(memory, commands.Adjust(command_key="a", user=1, delta=-1))

    assert (refused.status, refused.account, refused.needed) == ("too_large", "user:1:available", MOST + 1)
    assert ask(memory, calls.paid()).status == "created"


def test_a_person_credits_flagged_money_to_whomever_it_was_meant_for(memory: Memory) -> None:
    ask(memory, calls.order(5), calls.paid(money=7), calls.paid(money=9))

    result = ask(memory, calls.resolve(4, user=2))

    assert isinstance(result.fact, TopUpSettled)
    assert (result.fact.money_minor, result.fact.currency, result.fact.provider_event) == (9, "EUR", "")
    assert (available(memory, 1), available(memory, 2)) == (0, 4)
    assert moved(result) == {"user:2:available": 4, "platform:topup:pay": -4}


def test_after_a_person_decided_a_notice_credits_nothing_more(memory: Memory) -> None:
    ask(memory, calls.order(5), calls.paid(money=7), calls.resolve(4))

    assert statuses(memory, calls.paid(money=7), calls.paid(), calls.paid(money=7, currency="USD")) == [
        "exists", "exists_with_different", "exists_with_different",
    ]  # fmt: skip
    assert available(memory) == 4


def test_another_decision_about_the_same_money_is_told_so(memory: Memory) -> None:
    ask(memory, calls.paid(user=0), calls.resolve(4))

    others = [calls.resolve(5), calls.resolve(4, user=2), calls.resolve(4, actor=9)]

    assert statuses(memory, calls.resolve(4), *others) == ["exists", *["exists_with_different"] * 3]


@pytest.mark.parametrize(
    ("mills", "user", "status"),
    [(0, 1, "invalid"), (-1, 1, "invalid"), (1, 9, "not_found"), (MOST + 1, 1, "too_large")],
)
def test_a_person_credits_something_to_somebody(memory: Memory, mills: int, user: int, status: str) -> None:
    ask(memory, calls.paid(user=0))

    assert ask(memory, calls.resolve(mills, user=user)).status == status
    assert statuses(memory, calls.resolve(1)) == ["created"]


def test_nothing_is_resolved_that_was_not_flagged(memory: Memory) -> None:
    ask(memory, calls.order(5))

    assert statuses(memory, calls.resolve(5), calls.resolve(5, "T9")) == ["not_found", "not_found"]


def test_a_resolved_payment_brings_its_rebate(memory: Memory) -> None:
    ask(memory, calls.paid(user=0))

    ask(memory, msgspec.structs.replace(calls.resolve(40), inviter=2, rebate=4))

    assert available(memory, 2) == 4


def test_a_payment_fails_once_and_not_after_it_was_credited(memory: Memory) -> None:
    ask(memory, calls.order(5))

    assert statuses(memory, FAILED, FAILED, calls.paid(), FAILED) == ["created", "exists", "created", "already_settled"]


def test_a_payment_without_an_order_does_not_fail(memory: Memory) -> None:
    ask(memory, calls.paid("T2", user=0))

    unknown = [FAILED, msgspec.structs.replace(FAILED, trade="T2")]

    assert statuses(memory, *unknown) == ["not_found", "not_found"]


def test_a_payment_is_reversed_in_parts_and_not_beyond(memory: Memory) -> None:
    ask(memory, calls.order(50), calls.paid())

    first, beyond = ask(memory, calls.reverse(30, name="a")), ask(memory, calls.reverse(21, name="b"))
    rest, nothing = ask(memory, calls.reverse(name="c")), ask(memory, calls.reverse(name="d"))

    assert [result.status for result in (first, beyond, rest, nothing)] == [
        "created",
        "insufficient",
        "created",
        "unchanged",
    ]
    assert (beyond.needed, beyond.available, bool(beyond.why), bool(nothing.why)) == (21, 20, True, True)
    assert (available(memory), nothing.fact) == (0, written(memory, TopUpSettled)[0])


@pytest.mark.parametrize(("mills", "left"), [(0, 50), (-1, 50), (0, 0)])
def test_a_reversal_takes_something(memory: Memory, mills: int, left: int) -> None:
    ask(memory, calls.order(50), calls.paid(), *([] if left else [calls.reverse(name="all")]))

    refused = ask(memory, calls.reverse(mills))

    assert (refused.status, refused.needed, refused.available) == ("invalid", mills, left)


@pytest.mark.parametrize("mills", [1, 50])
def test_a_reversal_of_a_mill_or_of_the_whole_by_its_number_is_made(memory: Memory, mills: int) -> None:
    ask(memory, calls.order(50), calls.paid())

    assert ask(memory, calls.reverse(mills)).status == "created"


def test_a_reversal_may_leave_a_debt_as_deep_as_an_account_goes(memory: Memory) -> None:
    ask(memory, calls.order(50), calls.paid(), commands.Adjust(command_key="a", user=1, delta=-MOST - 1))

    refused, fits = ask(memory, calls.reverse(50)), ask(memory, calls.reverse(49))

    assert (refused.status, refused.account, refused.needed) == ("too_large", "user:1:available", -MOST - 1)
    assert (fits.status, available(memory)) == ("created", -MOST)


def test_a_payment_of_a_user_who_is_gone_is_still_reversed(memory: Memory) -> None:
    ask(memory, calls.order(50), calls.paid(), deletion(1))

    assert ask(memory, calls.reverse()).status == "created"
    assert balance(memory, "user:1:available") == 0


def test_only_a_credited_payment_is_reversed_and_only_for_its_user(memory: Memory) -> None:
    ask(memory, calls.order(50))

    early = ask(memory, calls.reverse()).status
    ask(memory, calls.paid())

    assert (early, ask(memory, calls.reverse(user=2)).status) == ("not_found", "stale")


def test_payments_come_from_an_account_for_each_provider(memory: Memory) -> None:
    order = msgspec.structs.replace(calls.order(50), provider="other")
    ask(memory, order)

    result = ask(memory, msgspec.structs.replace(calls.paid(), provider="other"))

    assert moved(result) == {"user:1:available": 50, "platform:topup:other": -50}
