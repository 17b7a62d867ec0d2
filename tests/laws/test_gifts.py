"""What is given: the daily reward, grants, and what inviting others brings."""

from __future__ import annotations

import pytest

from domain import commands
from domain.events import QuotaOpened
from tests.laws import calls
from tests.laws.asking import MOST, NOW, TODAY, ask, available, balance, deletion, posted, statuses
from tests.laws.memory import Memory

DAY_MS = 86_400_000
MIDNIGHT = NOW - NOW % DAY_MS
WALLET = "user:1:invite"


@pytest.fixture
def memory() -> Memory:
    """Two users; the first has 60 mills in the invite wallet."""
    empty = Memory()
    opened = commands.Open(user=1, amount=0, invite=60, source="s", row="first", digest="d")
    ask(empty, calls.customer("ada"), calls.customer("bob"), opened)
    return empty


def check_in(day: str = TODAY, mills: int = 5, *, user: int = 1) -> commands.CheckIn:
    return commands.CheckIn(user=user, day=day, amount=mills)


def transfer(mills: int, name: str = "x", *, user: int = 1) -> commands.TransferInvite:
    return commands.TransferInvite(command_key=name, user=user, amount=mills)


@pytest.mark.parametrize(("ms", "status"), [(-1, "stale"), (0, "created"), (DAY_MS - 1, "created"), (DAY_MS, "stale")])
def test_a_day_begins_and_ends_at_midnight_in_utc(memory: Memory, ms: int, status: str) -> None:
    assert ask(memory, check_in(), now=MIDNIGHT + ms).status == status


def test_each_day_and_each_user_has_a_reward_of_its_own(memory: Memory) -> None:
    first = statuses(memory, check_in(), check_in(mills=9), check_in(user=2))
    second = statuses(memory, check_in(), check_in("2027-01-16"), now=NOW + DAY_MS)

    assert (first, second) == (["created", "exists", "created"], ["exists", "created"])
    assert (available(memory, 1), available(memory, 2)) == (10, 5)


@pytest.mark.parametrize(("mills", "status"), [(-1, "invalid"), (0, "invalid"), (1, "created")])
@pytest.mark.parametrize("what", ["check-in", "grant", "transfer"])
def test_a_gift_gives_something(memory: Memory, what: str, mills: int, status: str) -> None:
    gifts = {
        "check-in": check_in(mills=mills),
        "grant": commands.Grant(user=1, amount=mills, why="gift"),
        "transfer": transfer(mills),
    }

    assert ask(memory, gifts[what]).status == status
    assert available(memory) == max(0, mills)


def test_nobody_gets_a_gift_who_is_gone_or_never_was(memory: Memory) -> None:
    ask(memory, deletion(1))

    gifts = [
        check_in(),
        check_in(user=9),
        transfer(5),
        transfer(5, user=9),
        commands.Grant(user=9, amount=5, why="gift"),
    ]

    assert set(statuses(memory, *gifts)) == {"not_found"}


def test_a_wallet_is_emptied_to_the_last_mill_and_no_further(memory: Memory) -> None:
    over, all_of_it, more = (ask(memory, transfer(mills, name)) for mills, name in ((61, "a"), (60, "b"), (1, "c")))

    assert [result.status for result in (over, all_of_it, more)] == ["insufficient", "created", "insufficient"]
    assert (over.needed, over.available, over.account) == (61, 60, WALLET)
    assert (available(memory), balance(memory, WALLET)) == (60, 0)


def test_a_transfer_that_does_not_fit_stays_in_the_wallet(memory: Memory) -> None:
    ask(memory, commands.Grant(user=1, amount=MOST - 5, why="gift"))

    refused = ask(memory, transfer(6))

    assert (refused.status, refused.account, refused.needed) == ("too_large", "user:1:available", MOST + 1)
    assert ask(memory, transfer(5, "y")).status == "created"


@pytest.mark.parametrize(
    ("mills", "status"), [(-1, "invalid"), (0, "created"), (MOST - 60, "created"), (MOST - 59, "too_large")]
)
def test_an_opening_puts_into_the_wallet_what_fits(memory: Memory, mills: int, status: str) -> None:
    result = ask(memory, commands.Open(user=1, amount=0, invite=mills, source="s", row="r", digest="d"))

    assert result.status == status
    assert status != "too_large" or (result.account, result.needed) == (WALLET, MOST + 1)


def test_an_opening_posts_nothing_where_it_opens_nothing(memory: Memory) -> None:
    ask(memory, commands.Open(user=2, amount=7, source="s", row="a", digest="d"))
    ask(memory, commands.Open(user=2, amount=0, source="s", row="b", digest="d"))

    assert sorted(posted(memory, QuotaOpened)) == [
        ("platform:opening", -60), ("platform:opening", -7), ("user:1:invite", 60), ("user:2:available", 7),
    ]  # fmt: skip


def test_an_opening_of_the_first_account_comes_from_the_openings_and_a_gift_from_promotion(memory: Memory) -> None:
    opening = ask(memory, commands.Grant(user=2, amount=7, why="opening"))
    gift = ask(memory, commands.Grant(user=2, amount=7, why="gift"))

    assert [dict(result.fact.postings) for result in (opening, gift) if result.fact] == [
        {"user:2:available": 7, "platform:opening": -7}, {"user:2:available": 7, "platform:promo": -7},
    ]  # fmt: skip
