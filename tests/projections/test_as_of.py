"""Balances as they were, against sums over the log that a test adds up itself."""

from __future__ import annotations

import pytest

from domain import commands
from projections.readmodel import ReadModel
from tests.laws import seeds
from tests.projections.house import House

LIMIT_FACTS = 10_000


@pytest.fixture
def busy(house: House) -> House:
    """Two users with calls, corrections and a limited key: some sixty facts."""
    draws = seeds.chance("busy")
    people = [house.user(name) for name in ("ada", "bob")]
    keys = [house.key(person) for person in people]
    for _ in range(12):
        at = draws.randrange(2)
        house.call(people[at], keys[at])
        by = draws.randint(-5_000, 5_000) or 1
        house.done(commands.Adjust(command_key=f"k{draws.random()}", user=people[at], delta=by, reason="drawn"))
    return house


def test_a_balance_at_any_position_is_the_sum_of_the_postings_up_to_it(busy: House, read: ReadModel) -> None:
    read.await_head()
    names = ("user:1:available", "user:1:held", "user:2:available", "platform:revenue", "user:99:available")

    found = {(name, at): read.standing(name, at).balance_mills for name in names for at in range(busy.store.head() + 1)}

    assert found == {(name, at): summed(busy, name, upto=at) for name, at in found}


def test_a_moment_means_the_last_position_that_was_recorded_by_then(busy: House, read: ReadModel) -> None:
    read.await_head()
    facts = [recorded for recorded in busy.store.read_log(0, LIMIT_FACTS) if recorded.fact.postings]
    moments = {moment for recorded in facts for moment in (recorded.fact.at - 1, recorded.fact.at)} | {0, 2**62}

    found = {moment: read.position_at(moment) for moment in moments}

    assert found == {moment: max((r.position for r in facts if r.fact.at <= moment), default=0) for moment in moments}


def test_the_story_of_an_account_leads_from_its_opening_to_its_closing_balance(busy: House, read: ReadModel) -> None:
    read.await_head()
    head = busy.store.head()
    name = "user:1:available"

    for after in (0, head // 3, head - 1):
        moved = sum(group.delta_mills for group in read.groups(name, after, head))
        opening, closing = read.standing(name, after), read.standing(name, head)

        assert opening.balance_mills + moved == closing.balance_mills


def test_a_story_names_models_and_reasons(busy: House, read: ReadModel) -> None:
    read.await_head()

    found = {(group.topic, group.note) for group in read.groups("user:1:available", 0, busy.store.head())}

    assert {("charge.settled/1", "gpt-4o"), ("quota.adjusted/1", "drawn"), ("quota.granted/1", "signup")} <= found


def test_a_sum_beyond_64_bits_stays_exact(house: House, read: ReadModel) -> None:
    for number in range(3):
        house.user(f"rich{number}", grant=9 * 10**18)

    read.await_head()

    assert read.standing("platform:promo", house.store.head()).balance_mills == -27 * 10**18
    assert [group.delta_mills for group in read.groups("platform:promo", 0, house.store.head())] == [-27 * 10**18]


def summed(house: House, account: str, *, upto: int) -> int:
    facts = house.store.read_log(0, LIMIT_FACTS)
    postings = [posting for r in facts if r.position <= upto for posting in r.fact.postings]
    return sum(delta for name, delta in postings if name == account)
