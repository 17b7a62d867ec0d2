"""What a call or a task paid, and what of it goes back."""

from __future__ import annotations

import msgspec
import pytest

from domain import commands
from domain.events import ChargeHeld, ChargeReleased, TaskFailed
from tests.laws import calls
from tests.laws.asking import MOST, NOW, ask, available, balance, deletion, key_deletion, moved, statuses
from tests.laws.memory import Memory


@pytest.fixture
def memory() -> Memory:
    """One user with 1,000 mills and a key that may spend 600 of them."""
    empty = Memory()
    ask(empty, calls.customer(grant=1_000), calls.key_of(1, limit=600))
    return empty


def test_a_refund_says_what_came_back_and_what_still_could(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.settle(300))

    part, again = ask(memory, calls.refund(100, name="a")), ask(memory, calls.refund(100, name="a"))
    beyond, rest = ask(memory, calls.refund(201, name="b")), ask(memory, calls.refund(name="c"))
    nothing = ask(memory, calls.refund(name="d"))

    assert [(r.status, r.needed, r.available) for r in (part, again, beyond, rest, nothing)] == [
        ("created", 100, 200), ("exists", 100, 200), ("insufficient", 201, 200), ("created", 200, 0), ("unchanged", 0, 0),
    ]  # fmt: skip
    assert beyond.why
    assert nothing.why
    assert None not in {beyond.fact, nothing.fact}


@pytest.mark.parametrize("mills", [0, -1])
def test_a_refund_gives_something(memory: Memory, mills: int) -> None:
    ask(memory, calls.hold(300), calls.settle(300))

    refused = ask(memory, calls.refund(mills))

    assert (refused.status, refused.needed, refused.available, bool(refused.why)) == ("invalid", mills, 300, True)


def test_a_call_that_cost_nothing_has_nothing_to_refund(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.settle(0))

    assert statuses(memory, calls.refund(), calls.refund(1), calls.refund(0)) == [
        "unchanged",
        "insufficient",
        "invalid",
    ]


def test_no_more_is_refunded_than_was_paid_however_much_the_call_cost(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.settle(5_000))

    assert statuses(memory, calls.refund(1_001), calls.refund()) == ["insufficient", "created"]
    assert available(memory) == 1_000


def test_a_refund_goes_to_the_limit_of_the_key_as_well(memory: Memory) -> None:
    ask(memory, calls.hold(300, capped=True), calls.settle(300, capped=True))

    result = ask(memory, calls.refund(100, capped=True))

    assert moved(result) == {
        "platform:revenue": -100, "user:1:available": 100, "key:1:cap_spent": -100, "key:1:cap": 100,
    }  # fmt: skip
    assert balance(memory, "key:1:cap") == 400


def test_a_refund_comes_after_the_key_and_the_user_are_gone(memory: Memory) -> None:
    ask(memory, calls.hold(300, capped=True), calls.settle(300, capped=True), key_deletion(1), deletion(1))

    assert ask(memory, calls.refund(capped=True)).status == "created"
    assert (available(memory), balance(memory, "key:1:cap")) == (1_000, 600)


def test_a_late_settlement_is_refunded_like_any_other(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.expire(), calls.settle(200))

    assert statuses(memory, calls.refund(201), calls.refund(200)) == ["insufficient", "created"]


def test_a_call_that_is_running_or_was_given_back_is_not_refunded(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.hold(300, calls.charge(2)), calls.release(calls.charge(2)))

    refused = [ask(memory, calls.refund(1, call)) for call in (calls.FIRST, calls.charge(2), calls.charge(9))]

    assert [result.status for result in refused] == ["not_found"] * 3
    assert [type(result.fact) for result in refused] == [ChargeHeld, ChargeReleased, type(None)]


def test_a_refund_that_does_not_fit_into_the_account_waits_for_room(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.settle(300), commands.Grant(user=1, amount=MOST - 800, why="gift"))

    refused = ask(memory, calls.refund(200))

    assert (refused.status, refused.account, refused.needed) == ("too_large", "user:1:available", MOST + 100)
    assert ask(memory, calls.refund(100)).status == "created"


def test_a_single_mill_is_refunded(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.settle(300))

    assert statuses(memory, calls.refund(1)) == ["created"]


def test_a_refund_to_a_limited_key_that_does_not_fit_into_the_account_waits_as_well(memory: Memory) -> None:
    ask(memory, calls.hold(300, capped=True), calls.settle(300, capped=True))
    ask(memory, commands.Grant(user=1, amount=MOST - 800, why="gift"))

    assert statuses(memory, calls.refund(200, capped=True), calls.refund(100, capped=True)) == ["too_large", "created"]


def test_a_refund_that_does_not_fit_into_the_limit_is_refused(memory: Memory) -> None:
    ask(
        memory,
        calls.hold(300, capped=True),
        calls.settle(300, capped=True),
        calls.hold(50, calls.charge(2), capped=True),
    )
    ask(memory, commands.LimitKey(key=1, delta=MOST - 450))

    refused, fits = ask(memory, calls.refund(151, capped=True)), ask(memory, calls.refund(150, capped=True))

    assert (refused.status, refused.account, refused.needed) == ("too_large", "key:1:cap", MOST + 1)
    assert fits.status == "created"


def test_a_refund_of_a_charge_without_a_limit_asks_no_limit_not_even_in_one_batch(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.settle(300))

    assert ask(memory, commands.LimitKey(key=1, target=MOST), calls.refund(300)).status == "created"


def test_a_failed_task_gives_back_what_was_not_given_back_before(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.accept(300), calls.refund(100))

    result = ask(memory, calls.end_task("failed", why="no luck"))

    assert isinstance(result.fact, TaskFailed)
    assert (result.fact.refunded, result.fact.why, available(memory)) == (200, "no luck", 1_000)


@pytest.mark.parametrize("cost", [0, 300])
def test_a_failed_task_that_owes_nothing_gives_nothing_back(memory: Memory, cost: int) -> None:
    ask(memory, calls.hold(300), calls.accept(cost), calls.refund())

    result = ask(memory, calls.end_task("failed"))

    assert isinstance(result.fact, TaskFailed)
    assert (result.fact.refunded, result.fact.why, available(memory)) == (0, "failed", 1_000)


def test_a_failed_task_whose_refund_does_not_fit_stays_open_until_it_does(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.accept(300), commands.Grant(user=1, amount=MOST - 800, why="gift"))

    refused = ask(memory, calls.end_task("failed"))
    ask(memory, commands.Adjust(command_key="a", user=1, delta=-500))

    assert refused.status == "too_large"
    assert ask(memory, calls.end_task("failed")).status == "created"


def test_a_task_that_is_refused_leaves_its_charge_open(memory: Memory) -> None:
    ask(memory, calls.hold(300))

    refused = statuses(memory, calls.accept(300, ttl_ms=0), calls.accept(300, ttl_ms=-1), calls.accept(-1))

    assert refused == ["invalid"] * 3
    assert statuses(memory, calls.accept(300, ttl_ms=1)) == ["created"]


def test_a_task_runs_to_its_deadline_and_not_a_millisecond_longer(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.accept(300))

    early = ask(memory, calls.end_task("given_up"), now=NOW + calls.TTL_MS - 1)
    on_time = ask(memory, calls.end_task("given_up"), now=NOW + calls.TTL_MS)

    assert (early.status, on_time.status) == ("not_yet", "created")
    assert isinstance(on_time.fact, TaskFailed)
    assert on_time.fact.why == "given_up"


def test_a_task_may_fail_before_its_deadline_and_succeed_after_it(memory: Memory) -> None:
    second = calls.charge(2)
    ask(memory, calls.hold(300), calls.accept(300), calls.hold(300, second), calls.accept(300, second, number=2))

    failed = ask(memory, calls.end_task("failed"))
    succeeded = ask(memory, calls.end_task("succeeded", second, number=2), now=NOW + 2 * calls.TTL_MS)

    assert (failed.status, succeeded.status) == ("created", "created")
    assert available(memory) == 700


def test_a_task_that_ended_well_keeps_what_it_cost(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.accept(300), calls.end_task("succeeded"))

    assert statuses(memory, calls.end_task("succeeded"), calls.end_task("failed"), calls.end_task("given_up")) == [
        "exists", "exists_with_different", "exists_with_different",
    ]  # fmt: skip
    assert available(memory) == 700


def test_a_task_that_failed_and_one_given_up_are_the_same_end(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.accept(300), calls.end_task("failed"))

    assert statuses(memory, calls.end_task("given_up"), calls.end_task("succeeded")) == [
        "exists",
        "exists_with_different",
    ]


@pytest.mark.parametrize(("field", "other"), [("charge", calls.charge(2)), ("user", 2), ("key", 2), ("capped", True)])
def test_a_task_is_ended_only_by_its_own_charge_and_payer(memory: Memory, field: str, other: object) -> None:
    ask(memory, calls.hold(300), calls.accept(300))

    result = ask(memory, msgspec.structs.replace(calls.end_task("failed"), **{field: other}))

    assert result.status == "invalid"


def test_a_task_that_was_charged_late_is_begun_and_refunded(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.expire())

    assert statuses(memory, calls.accept(200), calls.accept(200), calls.end_task("failed")) == [
        "created",
        "exists",
        "created",
    ]
    assert available(memory) == 1_000


def test_a_bill_of_another_amount_is_not_the_tasks_own(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.accept(200))

    assert statuses(memory, calls.accept(201), calls.settle(200), calls.settle(201)) == [
        "exists_with_different", "exists", "exists_with_different",
    ]  # fmt: skip
