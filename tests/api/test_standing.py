"""Credit limits and freezes through the JSON API: what a user may still spend, said by whom and why."""

from __future__ import annotations

import pytest

from domain import commands
from domain.books import Result
from tests.api.house import MODEL, PRICE, House, Json, Person


def held(house: House, person: Person, mills: int) -> Result:
    """What the ledger says to a call that wants to hold so much."""
    command = commands.Hold(
        charge=f"{house.head():032x}", user=person.id, key=0, model=MODEL, group="default", prices=(PRICE,),
        amount=mills, node="n", epoch="e", ttl_ms=60_000,
    )  # fmt: skip
    return house.books.writer.submit_blocking(command)


def change(person: Person, user_id: int, what: str, **fields: object) -> Json:
    data: Json = person.post(f"/api/user/{user_id}/{what}", fields).data
    return data


def test_a_credit_limit_lets_a_user_spend_below_nothing_and_no_further(house: House) -> None:
    customer = house.user(quota=10)

    shown = change(house.root, customer.id, "credit_limit", quota=5, reason="invoiced")

    assert (shown["credit_limit_mills"], shown["quota_mills"], shown["frozen"]) == ("5000", "10000", False)
    assert held(house, customer, 15_001).status == "insufficient"
    assert held(house, customer, 15_000).status == "created"


def test_a_credit_limit_of_nothing_is_prepaid_again(house: House) -> None:
    customer = house.user(quota=10)
    change(house.root, customer.id, "credit_limit", mills="2500")

    shown = change(house.root, customer.id, "credit_limit", quota=0)

    assert shown["credit_limit_mills"] == "0"
    assert held(house, customer, 10_001).status == "insufficient"


@pytest.mark.parametrize(
    "wrong",
    [{}, {"quota": -1}, {"quota": 10**16}, {"quota": "5"}, {"mills": 5}, {"mills": "-5"}, {"quota": 1, "mills": "1"}],
    ids=str,
)
def test_a_credit_limit_that_is_none_is_refused(quiet_house: House, quiet_customer: Person, wrong: Json) -> None:
    before = quiet_house.head()

    answer = quiet_house.root.post(f"/api/user/{quiet_customer.id}/credit_limit", wrong)

    assert answer.status == 422
    assert quiet_house.head() == before


def test_a_frozen_user_holds_nothing_new_while_what_is_open_settles(house: House) -> None:
    customer = house.user(quota=10)
    open_call = house.hold(customer.id, 0, 4_000)

    shown = change(house.root, customer.id, "freeze", reason="chargeback")

    refused = held(house, customer, 1)
    released = house.books.writer.submit_blocking(
        commands.Release(charge=open_call, user=customer.id, key=0, why="test")
    )
    assert shown["frozen"] is True
    assert refused.status == "frozen"
    assert released.status == "created"
    assert customer.me()["quota"] == 10


def test_an_unfrozen_user_spends_down_to_their_credit_limit(house: House) -> None:
    customer = house.user(quota=10)
    change(house.root, customer.id, "freeze")
    change(house.root, customer.id, "credit_limit", quota=3)
    frozen = held(house, customer, 1).status

    shown = change(house.root, customer.id, "unfreeze", reason="it was a mistake")

    assert (frozen, shown["frozen"], shown["credit_limit_mills"]) == ("frozen", False, "3000")
    assert held(house, customer, 13_000).status == "created"


def test_what_holds_already_is_no_change(house: House) -> None:
    customer = house.user()
    change(house.root, customer.id, "freeze")
    change(house.root, customer.id, "credit_limit", quota=3)
    before = house.head()

    change(house.root, customer.id, "freeze")
    change(house.root, customer.id, "credit_limit", quota=3)

    assert house.head() == before


def test_the_audit_says_who_did_it_and_why(house: House) -> None:
    customer, admin = house.user(), house.admin()
    change(admin, customer.id, "credit_limit", quota=3, reason="invoiced")
    change(admin, customer.id, "freeze", reason="chargeback")
    change(admin, customer.id, "unfreeze", reason="paid")

    rows = house.root.get("/api/ledger/audit", actor=admin.id, topic="user.").data["items"]

    told = [(row["topic"], row["subject"], row["detail"]["reason"]) for row in rows]
    subject = f"user:{customer.id}"
    assert told == [
        ("user.unfrozen/1", subject, "paid"),
        ("user.frozen/1", subject, "chargeback"),
        ("user.credit_limit_changed/1", subject, "invoiced"),
    ]


def test_nobody_gives_credit_to_an_equal_or_freezes_one(house: House) -> None:
    admin, other = house.admin(), house.admin()

    answers = [
        admin.post(f"/api/user/{who}/{what}", {"quota": 1})
        for who in (admin.id, other.id, house.root.id)
        for what in ("credit_limit", "freeze", "unfreeze")
    ]

    assert {answer.status for answer in answers} == {403}
    assert admin.post("/api/user/999/freeze", {}).status == 404
    assert house.user().post("/api/user/1/freeze", {}).status == 403
