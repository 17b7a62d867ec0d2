"""Refunds through the JSON API: by whom and why, once for a key, and never more than was paid."""

from __future__ import annotations

from domain.events import ChargeRefunded
from tests.api.house import Answer, House, Json, Person


def refund(person: Person, request_id: str, **fields: object) -> Answer:
    return person.post(f"/api/ledger/charges/{request_id}/refund", fields)


def test_a_part_of_a_charge_goes_back_and_then_the_rest(house: House) -> None:
    customer = house.user(quota=10)
    call = house.spend(customer.id, 0, 7_500)

    part, rest = refund(house.root, call, quota=2, key="a"), refund(house.root, call, key="b")

    assert part.data["refunded_mills"] == "2000"
    assert part.data["left_mills"] == "5500"
    assert (rest.data["refunded_mills"], rest.data["refunded_total_mills"], rest.data["left_mills"]) == (
        "5500",
        "7500",
        "0",
    )
    assert customer.me()["quota_mills"] == "10000"


def test_a_refund_that_is_sent_again_under_its_key_happens_once(house: House) -> None:
    customer = house.user(quota=10)
    call = house.spend(customer.id, 0, 7_500)

    by_key = [refund(house.root, call, mills="1", key="ticket 9").data["refunded_total_mills"] for _ in range(3)]
    path = f"/api/ledger/charges/{call}/refund"
    by_header = [house.root.post(path, {"mills": "2"}, Idempotency_Key="ticket 10").status for _ in range(3)]

    assert by_key == ["1", "1", "1"]
    assert by_header == [200, 200, 200]
    assert customer.me()["quota_mills"] == "2503"


def test_a_key_belongs_to_one_refund(house: House) -> None:
    customer = house.user(quota=10)
    call = house.spend(customer.id, 0, 7_500)
    refund(house.root, call, quota=1, key="ticket 9")

    answer = refund(house.root, call, quota=2, key="ticket 9")

    assert answer.status == 409
    assert customer.me()["quota_mills"] == "3500"


def test_more_than_was_paid_never_goes_back(house: House) -> None:
    customer = house.user(quota=10)
    call = house.spend(customer.id, 0, 7_500)

    too_much = refund(house.root, call, mills="7501")
    refund(house.root, call)
    nothing_left = refund(house.root, call)

    assert too_much.status == 409
    assert "7,500" in too_much.message
    assert nothing_left.data["refunded_mills"] == "0"
    assert customer.me()["quota_mills"] == "10000"


def test_a_refund_gives_a_limited_key_its_allowance_back(house: House) -> None:
    customer = house.user(quota=10)
    key = customer.post("/api/token/", {"name": "k", "remain_quota": 8}).data
    call = house.spend(customer.id, key["id"], 7_500, capped=True)

    refund(house.root, call, quota=3)

    assert customer.get(f"/api/token/{key['id']}").data["remain_quota_mills"] == "3500"
    assert house.root.get("/api/ledger/verify").data["is_sound"] is True


def test_the_fact_says_who_refunded_and_why(house: House) -> None:
    customer, admin = house.user(quota=10), house.admin()
    call = house.spend(customer.id, 0, 7_500)
    refund(admin, call, quota=1, reason="the answer was cut", key="t1")

    (fact,) = [r.fact for r in house.books.store.read_stream(call) if isinstance(r.fact, ChargeRefunded)]

    assert (fact.user, fact.amount, fact.actor, fact.reason) == (customer.id, 1_000, admin.id, "the answer was cut")


def test_what_was_never_paid_cannot_be_refunded(house: House) -> None:
    customer = house.user(quota=10)
    call = house.hold(customer.id, 0, 1_000)

    answers = [refund(house.root, request_id) for request_id in (call, "0" * 32)]
    nonsense = refund(house.root, "abc")

    assert {answer.status for answer in answers} == {404}
    assert nonsense.status == 422


WRONG: list[Json] = [
    {"quota": 0},
    {"quota": -1},
    {"mills": "0"},
    {"mills": "1.5"},
    {"mills": 5},
    {"key": "a\tb"},
    {"quota": 1, "mills": "1"},
]


def test_a_refund_that_cannot_be_is_refused(house: House) -> None:
    customer = house.user(quota=10)
    call = house.spend(customer.id, 0, 7_500)
    before = house.head()

    statuses = [refund(house.root, call, **wrong).status for wrong in WRONG]

    assert statuses == [422] * len(WRONG)
    assert house.head() == before


def test_nobody_refunds_their_own_calls_or_an_equals(house: House) -> None:
    admin, customer = house.admin(), house.user(quota=10)
    house.root.put("/api/user/", {"id": admin.id, "quota_delta": 10})
    own, others = house.spend(admin.id, 0, 1_000), house.spend(customer.id, 0, 1_000)

    assert refund(admin, own).status == 403
    assert refund(customer, others).status == 403
    assert refund(admin, others).status == 200


def test_an_explanation_says_what_a_call_cost_and_what_went_back(house: House) -> None:
    customer = house.user(quota=10)
    call = house.spend(customer.id, 0, 7_500)
    refund(house.root, call, quota=2, reason="it was cut")

    told = customer.get(f"/api/ledger/explain/{call}").data

    assert (told["state"], told["cost_mills"], told["paid_mills"]) == ("settled", "7500", "7500")
    assert told["lines"][-1] == "refunded 2,000 mills: it was cut"
