"""Rules of the ledger where a generated history seldom stands: one example each, at the very edge between yes and no."""

from __future__ import annotations

import msgspec
import pytest

from domain import api_key, commands, streams, user
from domain.books import Guard, Result
from domain.commands import Command, VaultPut
from domain.events import ChargeHeld, ChargeSettledLate
from tests.laws import calls
from tests.laws.memory import Memory

NOW = 1_800_000_000_000


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


def test_refusals_say_what_was_needed_what_was_there_and_on_which_account(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, target=300))

    by_balance, by_limit = ask(memory, calls.hold(1_001)), ask(memory, calls.hold(301, capped=True))

    assert (by_balance.needed, by_balance.available, by_balance.account) == (1_001, 1_000, "user:1:available")
    assert (by_limit.needed, by_limit.available, by_limit.account) == (301, 300, "key:1:cap")


def ask(memory: Memory, *batch: Command) -> Result:
    """The last answer."""
    return memory.commit(batch, NOW).results[-1]


def balance(memory: Memory, account: str) -> int:
    return memory.balances.get(account, Guard(0)).balance


def moved(result: Result) -> dict[str, int]:
    assert result.fact is not None
    return dict(result.fact.postings)


def put(ref: str) -> VaultPut:
    return VaultPut(ref, b"sealed")
