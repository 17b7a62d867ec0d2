"""The ledger over HTTP: every balance has a statement, every call an explanation, and each is its owner's to read."""

from __future__ import annotations

import threading

import pytest

from domain import streams
from tests.api.house import House, Json, Person


@pytest.fixture
def customer(house: House) -> Person:
    return house.user(quota=100)


def test_a_statement_runs_up_to_the_balance(house: House, customer: Person) -> None:
    house.spend(customer.id, 0, 2_500)
    house.spend(customer.id, 0, 1_000)

    statement = customer.get("/api/ledger/statement").data

    assert statement["account"] == f"user:{customer.id}:available"
    assert sum(int(item["delta_mills"]) for item in statement["items"]) == 96_500
    assert statement["items"][-1]["balance_mills"] == customer.me()["quota_mills"] == "96500"


def test_a_statement_comes_in_pages_that_lose_nothing(house: House, customer: Person) -> None:
    for _ in range(4):
        house.spend(customer.id, 0, 1_000)
    whole = customer.get("/api/ledger/statement").data["items"]

    pages: list[list[Json]] = []
    after: int | None = 0
    while after is not None:
        page = customer.get("/api/ledger/statement", after=after, limit=2).data
        pages.append(page["items"])
        after = page["next_after"]

    assert [item for page in pages for item in page] == whole
    assert max(len(page) for page in pages) == 2


def test_a_call_explains_itself_to_its_payer_without_the_houses_internals(house: House, customer: Person) -> None:
    request_id = house.spend(customer.id, 0, 33_750, channel=1)

    own = customer.get(f"/api/ledger/explain/{request_id}")
    for_admin = house.root.get(f"/api/ledger/explain/{request_id}")

    assert (own.data["state"], own.data["paid_mills"], own.data["written_off_mills"]) == ("settled", "33750", "0")
    assert any("x 1.25" in line for line in own.data["lines"])
    assert [fact["topic"] for fact in own.data["facts"]] == ["charge.held/1", "charge.settled/1"]
    assert "secret" not in str(own.body)
    assert "node-secret" in str(for_admin.body)


def test_a_call_that_is_still_open_explains_what_it_holds(house: House, customer: Person) -> None:
    request_id = house.hold(customer.id, 0, 2_500)

    explained = customer.get(f"/api/ledger/explain/{request_id}").data

    assert (explained["state"], explained["cost_mills"]) == ("open", "0")


def test_calls_of_others_are_as_if_they_were_not(house: House, customer: Person) -> None:
    request_id = house.spend(customer.id, 0, 2_500)
    other = house.user()

    foreign = other.get(f"/api/ledger/explain/{request_id}")
    unknown = other.get(f"/api/ledger/explain/{request_id[::-1]}")

    assert (foreign.status, unknown.status) == (404, 404)
    assert foreign.message.replace(request_id, "") == unknown.message.replace(request_id[::-1], "")
    assert other.get("/api/ledger/explain/nonsense").status == 422


def test_a_stream_that_is_no_call_is_not_explained(house: House) -> None:
    assert house.root.get(f"/api/ledger/explain/{streams.user(1)}").status == 404


def test_balances_are_told_with_their_floor(house: House, customer: Person) -> None:
    key = customer.post("/api/token/", {"name": "k", "remain_quota": 7}).data

    own = customer.get(f"/api/ledger/balance/user:{customer.id}:available").data
    cap = customer.get(f"/api/ledger/balance/key:{key['id']}:cap").data
    held = customer.get(f"/api/ledger/balance/user:{customer.id}:held").data

    assert own == {
        "account": f"user:{customer.id}:available",
        "asset": "QUOTA",
        "balance_mills": "100000",
        "floor_mills": "0",
        "quota": 100,
    }
    assert (cap["asset"], cap["balance_mills"]) == ("CAP", "7000")
    assert held["balance_mills"] == "0"


@pytest.mark.parametrize("route", ["balance/{}", "statement?account={}"])
def test_accounts_of_others_are_as_if_they_were_not(house: House, customer: Person, route: str) -> None:
    key = customer.post("/api/token/", {"name": "k", "remain_quota": 7}).data
    other = house.user()

    for account in (
        f"user:{customer.id}:available",
        "user:1:available",
        "user:999:available",
        f"key:{key['id']}:cap",
        "key:999:cap",
        "platform:revenue",
        "seq:user",
        f"user:{other.id}x:available",
    ):
        assert other.get(f"/api/ledger/{route.format(account)}").status == 404, account
    for account in ("nonsense", "user:", "User:1:available", "user:1;drop"):
        assert other.get(f"/api/ledger/{route.format(account)}").status == 422, account


def test_administrators_read_every_account(house: House, customer: Person) -> None:
    house.spend(customer.id, 0, 2_500)

    revenue = house.root.get("/api/ledger/statement", account="platform:revenue").data["items"]

    assert [item["delta_mills"] for item in revenue] == ["2500"]
    assert house.root.get(f"/api/ledger/balance/user:{customer.id}:available").data["balance_mills"] == "97500"
    assert house.root.get("/api/ledger/balance/platform:revenue").status == 404


def test_the_ledger_is_verified_on_request_of_root(house: House, customer: Person) -> None:
    house.spend(customer.id, 0, 2_500)
    house.hold(customer.id, 0, 1_000)

    report = house.root.get("/api/ledger/verify").data

    assert report["is_sound"] is True
    assert (report["head"], report["open_holds"]) == (house.head(), 1)
    assert report["totals_mills"]["platform:revenue"] == "2500"


def test_one_verification_runs_at_a_time(house: House) -> None:
    lock = threading.Lock()
    house.app.state.verifying = lock

    with lock:
        assert house.root.get("/api/ledger/verify").status == 409

    assert house.root.get("/api/ledger/verify").status == 200


def test_the_audit_says_who_did_what_without_secrets(house: House, customer: Person) -> None:
    admin = house.admin()
    admin.put("/api/user/", {"id": customer.id, "quota_delta": 5, "reason": "goodwill"})
    admin.post("/api/user/manage", {"id": customer.id, "action": "disable"})

    page = house.root.get("/api/ledger/audit", actor=admin.id).data
    users = house.root.get("/api/ledger/audit", topic="user.standing").data["items"]

    assert [item["topic"] for item in page["items"]] == ["user.standing_changed/1", "quota.adjusted/1"]
    assert {item["subject"] for item in page["items"]} == {f"user:{customer.id}"}
    assert page["items"][1]["detail"]["reason"] == "goodwill"
    assert users[0]["detail"]["status"] == 2
