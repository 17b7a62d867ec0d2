"""Inviting others through the JSON API: a code of one's own, what it brings both, and the way from the wallet to what can be spent."""

from __future__ import annotations

import threading

import pytest

from domain.events import InviteCodeClaimed, RebateGranted
from tests.api.house import PASSWORD, House, Json, Person


def code_of(person: Person) -> str:
    code = person.get("/api/user/aff").data
    assert isinstance(code, str)
    return code


def invited(house: House, code: str) -> Person:
    """Somebody who registered with an invite code."""
    username = house.name("guest")
    made = house.root.post("/api/user/", {"username": username, "password": PASSWORD, "aff_code": code})
    assert made.status == 200, made.body
    return house.enter(username)


@pytest.fixture
def generous(house: House) -> House:
    """A site that rewards both, and moves any amount from ten quota on."""
    for name, value in (("QuotaForInviter", "30"), ("QuotaForInvitee", "20"), ("QuotaPerUnit", "10")):
        house.option(name, value)
    house.settle_down()
    return house


def test_a_code_is_made_when_it_is_first_asked_for_and_stays(house: House) -> None:
    customer = house.user()
    before = customer.me()["aff_code"]

    first, again = code_of(customer), code_of(customer)

    assert before == ""
    assert first == again == customer.me()["aff_code"]
    assert len(first) >= 8
    assert first.isalnum()


def test_two_that_ask_at_once_are_given_the_same_code(house: House) -> None:
    customer, codes = house.user(), list[str]()
    clients = [house.guest() for _ in range(4)]
    for client in clients:
        client.headers, client.cookie = dict(customer.headers), customer.cookie
    threads = [threading.Thread(target=lambda one=client: codes.append(code_of(one))) for client in clients]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(codes) == 4
    assert len(set(codes)) == 1
    facts = [recorded.fact for recorded in house.books.store.read_log(0, 1000)]
    assert sum(isinstance(fact, InviteCodeClaimed) for fact in facts) == 1


def test_an_invitation_brings_both_what_the_site_gives(generous: House) -> None:
    host = generous.user()

    guest = invited(generous, code_of(host))

    assert guest.me()["quota"] == 20
    assert guest.me()["inviter_id"] == host.id
    mine = host.me()
    assert (mine["quota"], mine["aff_quota"], mine["aff_history_quota"], mine["aff_count"]) == (0, 30, 30, 1)


def test_an_invitation_counts_where_the_site_gives_nothing_for_it(house: House) -> None:
    host = house.user()

    invited(house, code_of(host))

    assert (host.me()["aff_count"], host.me()["aff_quota"]) == (1, 0)


def test_a_code_that_is_nobodys_is_refused(house: House) -> None:
    before = house.head()

    answers = [
        house.root.post("/api/user/", {"username": "guest", "password": PASSWORD, "aff_code": code})
        for code in ("nobody0000", " ", "x" * 64)
    ]

    assert {answer.status for answer in answers} == {422}
    assert house.head() == before


def test_an_inviter_who_is_gone_invited_nobody(generous: House) -> None:
    host = generous.user()
    code = code_of(host)
    generous.root.delete(f"/api/user/{host.id}")

    guest = invited(generous, code)

    assert (guest.me()["inviter_id"], guest.me()["quota"]) == (0, 0)


def test_quota_moves_from_the_wallet_to_what_can_be_spent_once(generous: House) -> None:
    host = generous.user()
    for _ in range(2):
        invited(generous, code_of(host))

    moved, again = (host.post("/api/user/aff_transfer", {"quota": 25}, Idempotency_Key="t1") for _ in range(2))

    assert (moved.data["quota"], moved.data["aff_quota"], moved.data["aff_history_quota"]) == (25, 35, 60)
    assert again.data["quota"] == 25


def test_a_transfer_that_cannot_be_moves_nothing(generous: House) -> None:
    host = generous.user()
    invited(generous, code_of(host))
    before = generous.head()

    asked: list[object] = [9, 0, -10, "10", 31]
    statuses = [host.post("/api/user/aff_transfer", {"quota": quota}).status for quota in asked]

    assert statuses == [422, 422, 422, 422, 409]
    assert generous.head() == before


def test_an_idempotency_key_of_a_transfer_belongs_to_one_amount_of_one_user(generous: House) -> None:
    hosts = [generous.user(), generous.user()]
    for host in hosts:
        invited(generous, code_of(host))
    hosts[0].post("/api/user/aff_transfer", {"quota": 10}, Idempotency_Key="t1")

    other_amount = hosts[0].post("/api/user/aff_transfer", {"quota": 11}, Idempotency_Key="t1")
    other_user = hosts[1].post("/api/user/aff_transfer", {"quota": 10}, Idempotency_Key="t1")

    assert other_amount.status == 409
    assert other_user.data["quota"] == 10


@pytest.mark.parametrize(
    ("percentage", "quota", "rebate"),
    [("10", 99, 9), ("0.1", 999, 0), ("0.1", 1000, 1), ("33.3", 1000, 333), ("0", 1000, 0)],
)
def test_an_inviter_gets_a_share_of_what_the_invited_redeem_in_whole_quota(
    house: House, percentage: str, quota: int, rebate: int
) -> None:
    house.option("RebateEnabled", "true")
    house.option("RebatePercentage", percentage)
    house.settle_down()
    host = house.user()
    guest = invited(house, code_of(host))
    (text,) = house.root.post("/api/redemption/", {"name": "spring", "quota": quota}).data

    assert guest.post("/api/user/topup", {"key": text}).status == 200

    assert host.me()["quota_mills"] == str(rebate * 1000)
    assert guest.me()["quota"] == quota


def test_a_rebate_names_whom_and_what_it_rewards(house: House) -> None:
    house.option("RebateEnabled", "true")
    house.option("RebatePercentage", "50")
    house.settle_down()
    host = house.user()
    guest = invited(house, code_of(host))
    (text,) = house.root.post("/api/redemption/", {"name": "spring", "quota": 10}).data
    guest.post("/api/user/topup", {"key": text})

    (fact,) = [r.fact for r in house.books.store.read_log(0, 1000) if isinstance(r.fact, RebateGranted)]

    assert (fact.user, fact.invited, fact.amount) == (host.id, guest.id, 5_000)
    assert house.root.get("/api/ledger/verify").data["is_sound"] is True


def test_a_list_of_users_shows_what_inviting_brought_each(generous: House) -> None:
    host = generous.user()
    guest = invited(generous, code_of(host))

    rows: dict[int, Json] = {row["id"]: row for row in generous.root.get("/api/user/").data["items"]}

    assert (rows[host.id]["aff_quota"], rows[host.id]["aff_count"], rows[host.id]["aff_code"]) == (30, 1, code_of(host))
    assert rows[guest.id]["inviter_id"] == host.id
