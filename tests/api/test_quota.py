"""Money through the JSON API: shown exactly, changed once, by whom and why, and never by writing back what was read."""

from __future__ import annotations

import pytest

from domain.accounts import MAX_ACCOUNT_QUOTA
from domain.events import QuotaAdjusted
from tests.api.house import Answer, House, Json, Person


def test_a_balance_is_shown_floored_with_its_mills_beside_it(house: House) -> None:
    customer = house.user(quota=10)
    house.spend(customer.id, 0, 1)

    me = customer.me()

    assert (me["quota"], me["quota_mills"]) == (9, "9999")
    assert (me["used_quota"], me["used_quota_mills"], me["request_count"]) == (0, "1", 1)


def test_what_was_used_is_rounded_half_up_from_the_exact_sum(house: House) -> None:
    customer = house.user(quota=10)

    for cost_mills, shown in ((499, 0), (1, 1), (999, 1), (1, 2)):
        house.spend(customer.id, 0, cost_mills)
        assert customer.me()["used_quota"] == shown


def test_what_is_held_is_not_available(house: House) -> None:
    customer = house.user(quota=10)
    house.hold(customer.id, 0, 4_000)

    me = customer.me()

    assert (me["quota"], me["held_mills"]) == (6, "4000")


@pytest.mark.parametrize("via", ["edit", "action"])
def test_a_difference_is_added_to_what_is_there(house: House, via: str) -> None:
    customer = house.user(quota=10)
    house.spend(customer.id, 0, 2_500)

    data = changed(house.root, via, id=customer.id, quota_delta=-3)

    assert data["quota_mills"] == "4500"


@pytest.mark.parametrize("via", ["edit", "action"])
def test_an_absolute_quota_is_set_at_the_time_of_the_commit(house: House, via: str) -> None:
    customer = house.user(quota=10)
    house.spend(customer.id, 0, 2_500)

    data = changed(house.root, via, id=customer.id, quota=3)

    assert data["quota_mills"] == "3000"


@pytest.mark.parametrize("via", ["edit", "action"])
def test_writing_back_the_quota_that_is_shown_changes_nothing(house: House, via: str) -> None:
    customer = house.user(quota=10)
    house.spend(customer.id, 0, 2_500)
    shown, before = customer.me()["quota"], house.head()

    data = changed(house.root, via, id=customer.id, quota=shown)

    assert data["quota_mills"] == "7500"
    assert house.head() == before


def test_a_quota_with_what_was_seen_is_a_difference_so_no_call_in_between_is_undone(house: House) -> None:
    customer = house.user(quota=100)
    seen = customer.me()["quota"]
    house.spend(customer.id, 0, 60_000)

    data = changed(house.root, "edit", id=customer.id, quota=seen + 5, quota_seen=seen)

    assert data["quota_mills"] == "45000"


def test_a_quota_that_equals_what_was_seen_changes_nothing_whatever_was_spent(house: House) -> None:
    customer = house.user(quota=100)
    house.spend(customer.id, 0, 60_000)
    before = house.head()

    changed(house.root, "edit", id=customer.id, quota=100, quota_seen=100)

    assert house.head() == before


def test_what_is_held_when_a_quota_is_set_comes_back_beside_it(house: House) -> None:
    customer = house.user(quota=100)
    house.hold(customer.id, 0, 40_000)

    changed(house.root, "edit", id=customer.id, quota=10)

    assert customer.me()["quota_mills"] == "10000"
    assert customer.me()["held_mills"] == "40000"


def test_a_change_says_who_made_it_and_why(house: House) -> None:
    customer, admin = house.user(quota=1), house.admin()

    changed(admin, "edit", id=customer.id, quota_delta=7, reason="goodwill")

    (fact,) = [recorded.fact for recorded in house.books.store.read_log(house.head() - 1, 1)]
    assert isinstance(fact, QuotaAdjusted)
    assert (fact.user, fact.delta, fact.before, fact.actor, fact.reason) == (
        customer.id,
        7_000,
        1_000,
        admin.id,
        "goodwill",
    )


@pytest.mark.parametrize("via", ["edit", "action"])
def test_a_change_that_is_sent_again_under_its_idempotency_key_happens_once(house: House, via: str) -> None:
    customer = house.user(quota=10)

    for _ in range(3):
        changed(house.root, via, {"Idempotency-Key": "order 7"}, id=customer.id, quota_delta=5)

    assert customer.me()["quota"] == 15


def test_an_idempotency_key_belongs_to_one_change_of_one_person(house: House) -> None:
    customer, other, admin = house.user(quota=10), house.user(quota=10), house.admin()
    key = {"Idempotency-Key": "order 7"}
    changed(house.root, "edit", key, id=customer.id, quota_delta=5)

    clash = house.root.put(
        "/api/user/", {"id": customer.id, "quota_delta": 6, "group": "vip"}, **{"Idempotency-Key": "order 7"}
    )
    changed(house.root, "edit", key, id=other.id, quota_delta=5)
    changed(admin, "edit", key, id=customer.id, quota_delta=5)

    assert clash.status == 409
    assert customer.me()["quota"] == 20
    assert customer.me()["group"] == "default"
    assert other.me()["quota"] == 15


@pytest.mark.parametrize("key", ["", "x" * 129, "a\tb"])
def test_an_idempotency_key_is_short_printable_text(quiet_house: House, quiet_customer: Person, key: str) -> None:
    change = {"id": quiet_customer.id, "quota_delta": 5}

    answer = quiet_house.root.send("PUT", "/api/user/", change, headers={"Idempotency-Key": key})

    assert answer.status == 422
    assert quiet_customer.me()["quota"] == 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"quota": True},
        {"quota": "5"},
        {"quota": 5.0},
        {"quota": 1.5},
        {"quota": 10**16},
        {"quota": -(10**16)},
        {"quota": [5]},
        {"quota_delta": "1"},
        {"quota_delta": False},
        {"quota_delta": 10**16},
        {"quota": 5, "quota_seen": "3"},
        {"quota_seen": 5},
        {"quota_delta": 1, "quota": 5},
        {"quota_delta": 1, "quota": 5, "quota_seen": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("via", ["edit", "action"])
def test_an_amount_that_is_none_is_refused_and_changes_nothing(
    quiet_house: House, quiet_customer: Person, via: str, wrong: Json
) -> None:
    before = quiet_house.head()

    answer = send(quiet_house.root, via, {}, id=quiet_customer.id, group="vip", **wrong)

    assert answer.status == 422
    assert "quota" in answer.message
    assert quiet_house.head() == before


def test_a_number_that_is_no_json_number_is_refused(house: House) -> None:
    customer = house.user(quota=10)
    before = house.head()

    for text in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"9" * 5000):
        raw = b'{"id": %d, "quota_delta": %s}' % (customer.id, text)
        assert house.root.send("PUT", "/api/user/", raw=raw).status in (400, 422)

    assert house.head() == before


def test_no_account_holds_more_than_its_bound(house: House) -> None:
    customer = house.user(quota=10)
    changed(house.root, "edit", id=customer.id, quota=MAX_ACCOUNT_QUOTA)
    before = house.head()

    answer = send(house.root, "edit", {}, id=customer.id, quota_delta=1, group="vip")

    assert answer.status == 422
    assert house.head() == before
    assert customer.me()["quota"] == MAX_ACCOUNT_QUOTA


def test_an_action_without_an_amount_is_refused(house: House) -> None:
    customer = house.user(quota=10)

    answer = house.root.post("/api/user/manage", {"id": customer.id, "action": "quota"})

    assert answer.status == 422
    assert "quota_delta" in answer.message


def test_every_change_through_the_api_leaves_a_ledger_that_adds_up(house: House) -> None:
    customer = house.user(quota=100)
    key = customer.post("/api/token/", {"name": "k", "remain_quota": 50}).data
    house.spend(customer.id, key["id"], 7_777, capped=True)
    changed(house.root, "edit", id=customer.id, quota=33)
    changed(house.root, "edit", id=customer.id, quota_delta=-40)
    customer.put("/api/token/", {"id": key["id"], "remain_quota": 12})
    customer.delete(f"/api/token/{key['id']}")
    house.root.delete(f"/api/user/{customer.id}")

    report = house.root.get("/api/ledger/verify").data

    assert report["is_sound"] is True
    assert report["differences"] == []
    assert house.available_mills(customer.id) == -7_000


def send(person: Person, via: str, headers: dict[str, str], **fields: object) -> Answer:
    if via == "edit":
        return person.put("/api/user/", fields, **headers)
    return person.post("/api/user/manage", {**fields, "action": "quota"}, **headers)


def changed(person: Person, via: str, headers: dict[str, str] | None = None, **fields: object) -> Json:
    data: Json = send(person, via, headers or {}, **fields).data
    return data


@pytest.mark.parametrize("via", ["edit", "action"])
def test_the_fact_of_a_quota_that_was_set_keeps_what_was_seen(house: House, via: str) -> None:
    customer = house.user(quota=100)
    house.spend(customer.id, 0, 60_000)

    changed(house.root, via, id=customer.id, quota=105, quota_seen=100)

    (fact,) = [recorded.fact for recorded in house.books.store.read_log(house.head() - 1, 1)]
    assert isinstance(fact, QuotaAdjusted)
    assert (fact.seen, fact.before, fact.delta) == (100, 40_000, 5_000)


def test_an_idempotency_key_knows_a_quota_that_was_set_by_what_was_seen(house: House) -> None:
    customer, key = house.user(quota=100), {"Idempotency-Key": "order 7"}
    changed(house.root, "edit", key, id=customer.id, quota=105, quota_seen=100)
    house.spend(customer.id, 0, 1_000)

    again = send(house.root, "edit", key, id=customer.id, quota=105, quota_seen=100)
    other = send(house.root, "edit", key, id=customer.id, quota=106, quota_seen=100, group="vip")

    assert (again.status, other.status) == (200, 409)
    assert (customer.me()["quota"], customer.me()["group"]) == (104, "default")


def test_a_keys_limit_that_is_changed_under_an_idempotency_key_is_changed_once(house: House) -> None:
    customer = house.user()
    key = customer.post("/api/token/", {"name": "k", "remain_quota": 50}).data

    for _ in range(3):
        customer.put("/api/token/", {"id": key["id"], "quota_delta": 5}, Idempotency_Key="more")
    clash = customer.put("/api/token/", {"id": key["id"], "quota_delta": 6}, Idempotency_Key="more")

    assert customer.get(f"/api/token/{key['id']}").data["remain_quota"] == 55
    assert clash.status == 409
