"""Rules of the ledger where a generated history seldom stands: one example each, at the very edge between yes and no."""

from __future__ import annotations

import msgspec
import pytest

from domain import api_key, commands, streams, user
from domain.commands import Command, VaultPut
from domain.errors import Broken
from domain.events import ChargeExpired, ChargeHeld, ChargeSettledLate
from tests.laws import calls
from tests.laws.asking import MOST, NOW, ask, balance, moved
from tests.laws.memory import Memory


@pytest.fixture
def memory() -> Memory:
    """One user with 1,000 mills and an unlimited key."""
    empty = Memory()
    ask(empty, calls.customer(grant=1_000), calls.key_of(1))
    return empty


def test_a_hold_runs_to_its_deadline_and_not_a_millisecond_longer(memory: Memory) -> None:
    held = ask(memory, calls.hold(100))
    by_the_clock = msgspec.structs.replace(calls.expire(), dead_epoch=False)

    early, on_time = (memory.commit([by_the_clock], NOW + calls.TTL_MS + ms).results[0] for ms in (-1, 0))

    assert isinstance(held.fact, ChargeHeld)
    assert held.fact.deadline == NOW + calls.TTL_MS
    assert (early.status, on_time.status) == ("not_yet", "created")


def test_an_overdraft_makes_no_settlement_cheaper_and_no_settlement_makes_it_deeper(memory: Memory) -> None:
    ask(memory, calls.hold(100), commands.Adjust(command_key="down", user=1, delta=-1_400))

    result = ask(memory, calls.settle(250))

    assert moved(result) == {"user:1:held": -100, "platform:revenue": 250, "platform:writeoff": -150}
    assert balance(memory, "user:1:available") == -500


def test_a_late_settlement_takes_what_is_there_and_writes_the_rest_off(memory: Memory) -> None:
    ask(memory, calls.hold(1_000), calls.expire(), calls.hold(900, calls.charge(2)))

    result = ask(memory, calls.settle(700))

    assert isinstance(result.fact, ChargeSettledLate)
    assert (result.fact.paid, result.fact.written_off) == (100, 600)
    assert balance(memory, "user:1:available") == 0


def test_a_late_settlement_of_a_limited_key_takes_no_more_than_its_limit(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, target=300), calls.hold(250, capped=True), calls.expire(capped=True))

    result = ask(memory, calls.settle(700, capped=True))

    assert isinstance(result.fact, ChargeSettledLate)
    assert (result.fact.paid, result.fact.written_off) == (300, 400)
    assert balance(memory, "key:1:cap") == 0


def test_a_settlement_above_a_limited_hold_takes_no_more_than_the_limit(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, target=300), calls.hold(250, capped=True))

    result = ask(memory, calls.settle(700, capped=True))

    assert moved(result)["key:1:cap_spent"] == 300
    assert (balance(memory, "key:1:cap"), balance(memory, "user:1:available")) == (0, 700)


@pytest.mark.parametrize("change", ["unlimited", "higher", "deleted"])
def test_a_settlement_moves_what_its_hold_moved_whatever_became_of_the_key(memory: Memory, change: str) -> None:
    ask(memory, commands.LimitKey(key=1, target=300), calls.hold(250, capped=True))
    key = api_key.from_facts(memory.streams[streams.key(1)])
    assert key is not None
    ask(
        memory,
        {
            "unlimited": commands.LimitKey(key=1, unlimited=True),
            "higher": commands.LimitKey(key=1, delta=5_000),
            "deleted": api_key.deletion(key),
        }[change],
    )

    result = ask(memory, calls.settle(200, capped=True))

    assert result.status == "created"
    assert balance(memory, "key:1:cap_held") == 0
    assert balance(memory, "user:1:available") == 800


def test_a_target_that_the_balance_already_shows_changes_nothing_and_leaves_the_rest_of_a_quota(memory: Memory) -> None:
    ask(memory, commands.Adjust(command_key="up", user=1, delta=1_500))

    shown = ask(memory, commands.Adjust(command_key="same", user=1, target=2))
    other = ask(memory, commands.Adjust(command_key="other", user=1, target=3))

    assert (shown.status, other.status) == ("unchanged", "created")
    assert balance(memory, "user:1:available") == 3_000


def test_an_overdraft_of_half_a_quota_shows_as_one_and_is_left_by_that_target(memory: Memory) -> None:
    ask(memory, commands.Adjust(command_key="down", user=1, delta=-1_500))

    assert ask(memory, commands.Adjust(command_key="same", user=1, target=-1)).status == "unchanged"
    assert ask(memory, commands.Adjust(command_key="zero", user=1, target=0)).status == "created"
    assert balance(memory, "user:1:available") == 0


def test_a_limit_of_nothing_and_no_limit_are_not_the_same(memory: Memory) -> None:
    limited = ask(memory, commands.LimitKey(key=1, target=0))
    again = ask(memory, commands.LimitKey(key=1, target=0))
    unlimited = ask(memory, commands.LimitKey(key=1, unlimited=True))

    assert [result.status for result in (limited, again, unlimited)] == ["created", "unchanged", "created"]


def test_a_name_that_another_user_has_is_taken_for_renames_too(memory: Memory) -> None:
    for name in ("bob", "eve"):
        ask(memory, user.creation(claim=name, profile=put(name), password=put("h")))
    eve = user.from_facts(memory.streams[streams.user(3)])
    assert eve is not None
    before = len(memory.log)

    result = ask(memory, user.profile_change(eve, claim="bob", profile=put("p")))

    assert result.status == "taken"
    assert len(memory.log) == before


def test_a_deleted_user_gets_nothing_any_more_and_what_is_running_is_still_settled(memory: Memory) -> None:
    ask(memory, calls.hold(400))
    ada = user.from_facts(memory.streams[streams.user(1)])
    assert ada is not None
    ask(memory, user.deletion(msgspec.structs.replace(ada, claim="")))

    gifts = [commands.Grant(user=1, amount=1, why="gift"), commands.Adjust(command_key="a", user=1, delta=1)]

    assert [ask(memory, gift).status for gift in gifts] == ["not_found", "not_found"]
    assert ask(memory, calls.key_of(1)).status == "not_found"
    assert ask(memory, calls.settle(300)).status == "created"
    assert (balance(memory, "user:1:available"), balance(memory, "user:1:held")) == (700, 0)


@pytest.mark.parametrize(("mills", "status"), [(-1, "invalid"), (0, "invalid"), (1, "created")])
def test_an_extension_adds_something(memory: Memory, mills: int, status: str) -> None:
    ask(memory, calls.hold(100))

    assert ask(memory, calls.extend(1, mills)).status == status


@pytest.mark.parametrize(
    ("cost", "status"), [(-1, "invalid"), (0, "created"), (MOST, "created"), (MOST + 1, "invalid")]
)
def test_a_cost_is_one_that_an_account_could_hold(memory: Memory, cost: int, status: str) -> None:
    ask(memory, calls.hold(100))

    result = ask(memory, calls.settle(cost))

    assert (result.status, result.needed) == (status, cost if status == "invalid" else 0)


def test_a_hold_of_nothing_is_one_and_of_less_is_none(memory: Memory) -> None:
    ask(memory, commands.Adjust(command_key="a", user=1, target=0))

    assert [ask(memory, calls.hold(mills)).status for mills in (-1, 0)] == ["invalid", "created"]


def test_a_charge_that_was_never_held_is_not_found(memory: Memory) -> None:
    asked = [calls.extend(1, 5), calls.settle(5), calls.release(), calls.expire(), calls.accept(5)]

    assert {ask(memory, command).status for command in asked} == {"not_found"}


def test_what_ended_says_how(memory: Memory) -> None:
    ends: list[tuple[Command, str]] = [
        (calls.settle(5), "already_settled"), (calls.release(), "already_released"), (calls.expire(), "already_expired"),
    ]  # fmt: skip
    found: list[tuple[str, str]] = []

    for number, (end, status) in enumerate(ends):
        call = calls.charge(number)
        ask(memory, calls.hold(5, call), msgspec.structs.replace(end, charge=call))
        late = [calls.extend(1, 5, call), calls.release(call), calls.expire(call)]
        found += [(status, ask(memory, each).status) for each in late]

    assert found == [
        *[("already_settled", "already_settled")] * 3,
        ("already_released", "already_released"), ("already_released", "exists"), ("already_released", "already_released"),
        ("already_expired", "already_expired"), ("already_expired", "already_expired"), ("already_expired", "exists"),
    ]  # fmt: skip


@pytest.mark.parametrize("payer", [{"user": 2}, {"key": 2}, {"capped": True}])
@pytest.mark.parametrize("what", ["extend", "settle", "release", "expire", "settle late"])
def test_only_its_payer_moves_a_charge(memory: Memory, what: str, payer: dict[str, int]) -> None:
    ask(memory, calls.customer("bob", grant=1_000), calls.hold(100))
    if what == "settle late":
        ask(memory, calls.expire())
    asked: dict[str, Command] = {
        "extend": calls.extend(1, 5), "settle": calls.settle(5), "release": calls.release(), "expire": calls.expire(),
        "settle late": calls.settle(5),
    }  # fmt: skip

    result = ask(memory, msgspec.structs.replace(asked[what], **payer))

    assert (result.status, type(result.fact)) == ("invalid", ChargeHeld)


def test_a_stream_that_is_no_charge_is_left_alone_loudly(memory: Memory) -> None:
    ask(memory, calls.hold(300), calls.accept(300))
    task = calls.task(1)

    for command in (calls.extend(1, 5, task), calls.settle(5, task), calls.release(task)):
        with pytest.raises(Broken):
            ask(memory, command)
    ask(memory, calls.end_task("succeeded"))
    for command in (calls.extend(1, 5, task), calls.settle(5, task), calls.release(task)):
        with pytest.raises(Broken):
            ask(memory, command)


def test_an_expiry_says_for_which_reason_and_who_did_it(memory: Memory) -> None:
    ask(memory, calls.hold(1), calls.hold(1, calls.charge(2)))

    dead = ask(memory, calls.expire())
    late = ask(memory, msgspec.structs.replace(calls.expire(calls.charge(2)), dead_epoch=False), now=NOW + calls.TTL_MS)

    assert [f.why for f in (dead.fact, late.fact) if isinstance(f, ChargeExpired)] == ["dead_epoch", "deadline"]


def test_an_end_posts_nothing_where_nothing_moves(memory: Memory) -> None:
    ask(memory, calls.hold(0), calls.hold(100, calls.charge(2)))

    free, exact = ask(memory, calls.release()), ask(memory, calls.settle(100, calls.charge(2)))

    assert moved(free) == {}
    assert moved(exact) == {"user:1:held": -100, "platform:revenue": 100}


def test_a_settlement_may_take_all_that_lies_above_the_floor_and_not_a_mill_more(memory: Memory) -> None:
    ask(memory, calls.hold(100), calls.hold(100, calls.charge(2)))

    first, second = ask(memory, calls.settle(900)), ask(memory, calls.settle(101, calls.charge(2)))

    assert moved(first) == {"user:1:held": -100, "user:1:available": -800, "platform:revenue": 900}
    assert moved(second) == {"user:1:held": -100, "platform:revenue": 101, "platform:writeoff": -1}


def test_half_of_a_bill_that_nobody_pays_is_revenue_and_written_off(memory: Memory) -> None:
    ask(memory, calls.hold(1_000))

    result = ask(memory, calls.settle(2_000))

    assert moved(result) == {"user:1:held": -1_000, "platform:revenue": 2_000, "platform:writeoff": -1_000}


def test_a_limit_that_is_used_up_pays_not_a_mill_beyond_its_hold(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, target=250), calls.hold(250, capped=True))

    result = ask(memory, calls.settle(300, capped=True))

    assert moved(result)["key:1:cap_spent"] == 250
    assert balance(memory, "user:1:available") == 750


def test_a_late_settlement_is_made_once_also_after_a_refund(memory: Memory) -> None:
    ask(memory, calls.hold(100), calls.expire(), calls.settle(50), calls.refund(20))

    assert [ask(memory, calls.settle(cost)).status for cost in (50, 51)] == ["exists", "exists_with_different"]


def test_refusals_say_what_was_needed_what_was_there_and_on_which_account(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, target=300))

    by_balance, by_limit = ask(memory, calls.hold(1_001)), ask(memory, calls.hold(301, capped=True))

    assert (by_balance.needed, by_balance.available, by_balance.account) == (1_001, 1_000, "user:1:available")
    assert (by_limit.needed, by_limit.available, by_limit.account) == (301, 300, "key:1:cap")


def put(ref: str) -> VaultPut:
    return VaultPut(ref, b"sealed")
