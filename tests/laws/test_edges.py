"""The largest amounts an account may hold, and those just beyond: exact up to the edge, refused over it, never wrapped."""

from __future__ import annotations

import msgspec
import pytest

from domain import commands, events
from domain.books import Guard
from domain.commands import Command
from tests.laws import calls
from tests.laws.asking import ask, deletion
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


@pytest.mark.parametrize(
    "how", ["grant", "adjust_by", "adjust_to", "open", "check_in", "transfer", "code", "payment", "resolved"]
)
def test_what_is_held_counts_as_well_so_that_it_can_always_be_given_back(memory: Memory, how: str) -> None:
    ask(memory, commands.Grant(user=1, amount=MOST_MILLS, why="opening"), calls.hold(MOST_MILLS))
    ask(memory, calls.code(1_000), calls.order(1_000, "T1"), calls.paid("T2", user=0))
    ask(memory, commands.Open(user=1, amount=0, invite=1_000, source="s", row="wallet", digest="d"))

    refused = ask(memory, gift(how, 1_000))

    assert (refused.status, refused.account) == ("too_large", "user:1:available")
    assert (refused.needed, refused.available) == (MOST_MILLS + 1_000, MOST_MILLS)
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


def test_an_invite_wallet_holds_as_much_as_any_account_and_not_a_mill_more(memory: Memory) -> None:
    ask(memory, commands.Open(user=1, amount=0, invite=MOST_MILLS - 60, source="s", row="r", digest="d"))

    full = [ask(memory, brought(name, bonus)) for name, bonus in (("eve", 61), ("zoe", 60), ("kim", 0), ("lou", 1))]

    assert [result.status for result in full] == ["too_large", "created", "created", "too_large"]
    assert (full[0].account, full[0].needed) == ("user:1:invite", MOST_MILLS + 1)


@pytest.mark.parametrize("amount", ["limit", "grant", "invited_bonus", "inviter_bonus"])
@pytest.mark.parametrize(
    ("mills", "status"), [(-1, "too_large"), (MOST_MILLS + 1, "too_large"), (MOST_MILLS, "created")]
)
def test_what_a_registration_gives_lies_between_nothing_and_the_most(
    memory: Memory, amount: str, mills: int, status: str
) -> None:
    made = calls.key_of(1, limit=1) if amount == "limit" else brought("eve", 0)

    result = ask(memory, msgspec.structs.replace(made, **{amount: mills}))

    assert (result.status, result.needed) == (status, mills if status == "too_large" else 0)


@pytest.mark.parametrize(("grant", "bonus"), [(10, -5), (-5, 10)])
def test_no_part_of_what_a_new_user_starts_with_is_negative(memory: Memory, grant: int, bonus: int) -> None:
    made = msgspec.structs.replace(brought("eve", 0), grant=grant, invited_bonus=bonus)

    assert ask(memory, made).status == "too_large"


@pytest.mark.parametrize(("bonus", "status"), [(5, "created"), (6, "too_large")])
def test_what_a_new_user_starts_with_fits_together(memory: Memory, bonus: int, status: str) -> None:
    made = msgspec.structs.replace(brought("eve", 0), grant=MOST_MILLS - 5, invited_bonus=bonus)

    assert ask(memory, made).status == status


def test_a_bonus_that_nobody_gives_takes_no_room(memory: Memory) -> None:
    ask(memory, deletion(1))

    made = msgspec.structs.replace(brought("eve", MOST_MILLS), grant=MOST_MILLS, invited_bonus=5)

    assert ask(memory, made).status == "created"
    assert (available(memory, 2), memory.balances.get("user:1:invite", Guard(0)).balance) == (MOST_MILLS, 0)


@pytest.mark.parametrize("number", [0, -1, 2**63, 2**64, 10**30])
def test_an_id_that_was_never_given_is_nobodys(memory: Memory, number: int) -> None:
    ask(memory, calls.code(5), calls.paid("T2", user=0))
    asked: list[Command] = [
        commands.Grant(user=number, amount=1, why="gift"), commands.Adjust(command_key="a", user=number, delta=1),
        commands.Open(user=number, amount=1, source="s", row="r", digest="d"), commands.Freeze(user=number),
        commands.CheckIn(user=number, day="2027-01-15", amount=1), commands.SetCreditLimit(user=number, limit=1),
        commands.TransferInvite(command_key="x", user=number, amount=1), calls.redeem(user=number), calls.redeem(number),
        calls.order(5, user=number), calls.resolve(5, "T2", user=number), calls.key_of(number),
        commands.LimitKey(key=number, target=1), commands.DeleteCode(code=number),
    ]  # fmt: skip
    before = len(memory.log)

    found = {ask(memory, command).status for command in asked}

    assert found == {"not_found"}
    assert len(memory.log) == before


def brought(name: str, bonus: int) -> commands.Register:
    """Somebody whom user 1 brought."""
    made = events.UserCreated(profile=f"profile-{name}", password="h", claim=name, inviter=1)
    return commands.Register(kind="user", created=made, inviter_bonus=bonus)


def available(memory: Memory, user: int = 1) -> int:
    return memory.balances.get(f"user:{user}:available", Guard(0)).balance


def gift(how: str, mills: int) -> Command:
    if how == "grant":
        return commands.Grant(user=1, amount=mills, why="gift")
    if how == "adjust_by":
        return commands.Adjust(command_key="a", user=1, delta=mills)
    if how == "open":
        return commands.Open(user=1, amount=mills, source="s", row="r", digest="d")
    if how == "check_in":
        return commands.CheckIn(user=1, day="2027-01-15", amount=mills)
    if how == "transfer":
        return commands.TransferInvite(command_key="x", user=1, amount=mills)
    if how in {"code", "payment", "resolved"}:
        return {"code": calls.redeem(), "payment": calls.paid("T1"), "resolved": calls.resolve(mills, "T2")}[how]
    return commands.Adjust(command_key="a", user=1, target=mills // 1_000)
