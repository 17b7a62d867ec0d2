"""An account as it was, over HTTP: exact at a position, findable by a moment, told in kinds, and checked in three ways."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from domain import commands
from tests.api.house import House, Json, Person

LIMIT_FACTS = 10_000


def route(account: str, question: str = "as-of") -> str:
    return f"/api/ledger/accounts/{account}/{question}"


def available(person: Person) -> str:
    return f"user:{person.id}:available"


def summed(house: House, account: str, upto: int) -> int:
    """What the facts themselves come to."""
    facts = house.books.store.read_log(0, LIMIT_FACTS)
    return sum(d for one in facts if one.position <= upto for name, d in one.fact.postings if name == account)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A site on which only questions are asked, once its people have spent something."""
    site = House(tmp_path_factory.mktemp("as-of") / "data").with_root()
    yield site
    site.close()


@pytest.fixture(scope="module")
def customer(house: House) -> Person:
    """Ten quota, three calls, a correction, and a key with seven quota of its own."""
    person = house.user(quota=10)
    for cost in (1_000, 2_000, 500):
        house.spend(person.id, 0, cost)
    house.books.writer.submit_blocking(
        commands.Adjust(command_key="c1", user=person.id, delta=-250, reason="a mistake", actor=1)
    )
    person.key = str(person.post("/api/token/", {"name": "k", "remain_quota": 7}).data["id"])
    return person


@pytest.fixture(scope="module")
def other(house: House) -> Person:
    return house.user(quota=1)


def test_a_balance_at_every_position_is_the_sum_of_the_facts_up_to_it(house: House, customer: Person) -> None:
    name, head = available(customer), house.head()

    found = {at: int(customer.get(route(name), position=at).data["balance_mills"]) for at in range(head + 1)}

    assert found == {at: summed(house, name, at) for at in range(head + 1)}
    assert len(set(found.values())) > 5


def test_without_a_position_it_is_the_balance_as_it_stands(house: House, customer: Person) -> None:
    now = customer.get(route(available(customer))).data

    assert (now["account"], now["position"]) == (available(customer), house.head())
    assert now["balance_mills"] == customer.me()["quota_mills"]
    assert 0 < now["last_position"] <= now["position"]


def test_a_moment_is_the_last_position_that_was_recorded_by_then(house: House, customer: Person) -> None:
    name = available(customer)
    facts = [one for one in house.books.store.read_log(0, LIMIT_FACTS) if one.fact.postings]
    moments = sorted({moment for one in facts for moment in (one.fact.at - 1, one.fact.at)} | {0, 2**53})

    found = {at: int(customer.get(route(name), at_ms=at).data["balance_mills"]) for at in moments}

    by_then = {at: max((one.position for one in facts if one.fact.at <= at), default=0) for at in moments}
    assert found == {at: summed(house, name, upto) for at, upto in by_then.items()}
    assert found[0] == 0


def test_a_position_beyond_the_end_is_the_end_and_says_so(house: House, customer: Person) -> None:
    far = customer.get(route(available(customer)), position=2**53).data

    assert far == customer.get(route(available(customer))).data
    assert far["position"] == house.head()


@pytest.mark.parametrize("question", ["as-of", "explain"])
def test_a_position_and_a_moment_at_once_are_refused_by_name(house: House, customer: Person, question: str) -> None:
    refused = customer.get(route(available(customer), question), position=1, at_ms=1)

    assert (refused.status, refused.body["success"]) == (422, False)
    assert "position" in refused.message
    assert "at_ms" in refused.message


@pytest.mark.parametrize(
    ("question", "name"),
    [("as-of", "position"), ("as-of", "at_ms"), ("explain", "position"), ("explain", "at_ms"), ("explain", "after")],
)
@pytest.mark.parametrize("value", ["-1", "1.5", "x", "", 2**53 + 1, "9" * 400, "²"])
def test_what_is_no_position_is_refused(
    house: House, customer: Person, question: str, name: str, value: object
) -> None:
    assert customer.get(route(available(customer), question), **{name: value}).status == 422


@pytest.mark.parametrize("question", ["as-of", "explain", "check"])
@pytest.mark.parametrize(
    "account", ["nonsense", "user:", "User:1:available", "user:1;drop", "user:1:available ", "x" * 101]
)
def test_what_is_no_account_is_refused(house: House, question: str, account: str) -> None:
    assert house.root.get(route(account, question)).status == 422


@pytest.mark.parametrize("question", ["as-of", "explain"])
def test_accounts_of_others_are_as_if_they_were_not(
    house: House, customer: Person, other: Person, question: str
) -> None:
    foreign = [available(customer), f"key:{customer.key}:cap", "platform:revenue", "seq:user", "code:1:budget"]
    unknown = ["user:999:available", "key:999:cap", "user:999:cap"]

    answers = {account: other.get(route(account, question)) for account in (*foreign, *unknown)}

    assert {answer.status for answer in answers.values()} == {404}
    assert len({answer.message.replace(account, "") for account, answer in answers.items()}) == 1
    assert other.get(route(available(other), question)).status == 200


def test_ones_own_accounts_are_those_of_ones_keys_too(house: House, customer: Person) -> None:
    cap = customer.get(route(f"key:{customer.key}:cap")).data
    held = customer.get(route(f"user:{customer.id}:held")).data

    assert (cap["balance_mills"], held["balance_mills"]) == ("7000", "0")


def test_a_guest_is_told_nothing(house: House, customer: Person) -> None:
    answers = [house.guest().get(route(available(customer), question)) for question in ("as-of", "explain", "check")]

    assert [answer.status for answer in answers] == [401] * 3


def test_an_administrator_sees_every_account_and_one_that_never_was_holds_nothing(
    house: House, customer: Person
) -> None:
    revenue = house.root.get(route("platform:revenue")).data
    theirs = house.root.get(route(available(customer))).data
    never = house.root.get(route("user:999:available")).data
    counted = house.root.get(route("seq:user")).data

    assert revenue["balance_mills"] == "3500"
    assert theirs["balance_mills"] == customer.me()["quota_mills"]
    assert (never["balance_mills"], never["last_position"], never["last_at_ms"]) == ("0", 0, 0)
    assert int(counted["balance_mills"]) >= customer.id


def test_a_balance_explains_itself_from_what_it_was_by_what_moved_it(house: House, customer: Person) -> None:
    name = available(customer)

    story = customer.get(route(name, "explain")).data

    kinds = {(one["topic"], one["note"]): (one["count"], int(one["delta_mills"])) for one in story["groups"]}
    assert kinds["charge.held/1", "gpt-4o"] == (3, -3_500)
    assert kinds["quota.adjusted/1", "a mistake"] == (1, -250)
    assert (story["opening"]["balance_mills"], story["is_complete"]) == ("0", True)
    assert sum(delta for _, delta in kinds.values()) == int(story["closing"]["balance_mills"]) == 6_250


def test_a_story_may_begin_anywhere_and_adds_up_between_any_two_positions(house: House, customer: Person) -> None:
    name, head = available(customer), house.head()
    spans = [(after, upto) for after in range(0, head + 1, 3) for upto in range(after, head + 1, 3)]

    stories: list[Json] = [customer.get(route(name, "explain"), after=a, position=u).data for a, u in spans]

    for (after, upto), story in zip(spans, stories, strict=True):
        opening, closing = int(story["opening"]["balance_mills"]), int(story["closing"]["balance_mills"])
        assert (opening, closing) == (summed(house, name, after), summed(house, name, upto))
        assert opening + sum(int(one["delta_mills"]) for one in story["groups"]) == closing


def test_a_story_that_ends_before_it_begins_is_refused(house: House, customer: Person) -> None:
    refused = customer.get(route(available(customer), "explain"), after=6, position=5)

    assert refused.status == 422
    assert "after" in refused.message
    assert customer.get(route(available(customer), "explain"), after=house.head() + 1).status == 422


def test_the_three_ways_agree_and_only_an_administrator_may_ask(house: House, customer: Person) -> None:
    agreed = house.root.get(route(available(customer), "check")).data

    assert agreed == {"account": available(customer), "agrees": True, "checked": True, "disagreement": None}
    assert customer.get(route(available(customer), "check")).status == 403


@pytest.mark.parametrize("account", ["platform:revenue", "key:1:cap_spent"])
def test_an_account_that_keeps_no_balance_cannot_be_checked(house: House, account: str) -> None:
    refused = house.root.get(route(account, "check"))

    assert refused.status == 422
    assert account in refused.message


def test_a_check_that_fails_shows_all_three_numbers(house: House) -> None:
    person = house.user(quota=5)
    house.root.get(route(available(person)))  # the read model knows the user
    with sqlite3.connect(house.books.folder / "ledger.db") as connection:
        connection.execute("UPDATE balances SET balance = balance + 7 WHERE account = ?", (available(person),))
    connection.close()

    differs = house.root.get(route(available(person), "check")).data

    assert (differs["agrees"], differs["checked"]) == (False, True)
    assert differs["disagreement"] == {
        "position": house.head(),
        "summed_mills": "5000",
        "running_mills": "5000",
        "kept_mills": "5007",
    }
