"""API keys as their owners use them: made, read, limited, switched, found again, and shown to nobody else."""

from __future__ import annotations

import re
from time import time

import pytest

from tests.api.house import PASSWORD, House, Json, Person


@pytest.fixture(scope="module")
def quiet_key(quiet_customer: Person) -> Json:
    data: Json = quiet_customer.post("/api/token/", {"name": "k", "remain_quota": 5}).data
    return data


def test_a_new_key_is_told_once_whole_and_known_to_the_relay_at_once(house: House) -> None:
    customer = house.user()

    made = customer.post("/api/token/", {"name": "first", "remain_quota": 500, "unlimited_quota": False}).data

    assert re.fullmatch(r"sk-[0-9A-Za-z]{48}", made["key"])
    found = house.books.directory.authenticate(house.books.vault.digest("key", made["key"].removeprefix("sk-")))
    assert found is not None
    assert (found[0].id, found[1].id) == (made["id"], customer.id)
    assert (made["remain_quota"], made["unlimited_quota"], made["used_quota"]) == (500, False, 0)


def test_lists_show_only_the_ends_of_a_key_and_its_owner_may_read_it_whole(house: House) -> None:
    customer = house.user()
    made = customer.post("/api/token/", {"name": "first", "unlimited_quota": True}).data

    listed = customer.get("/api/token/").data
    searched = customer.get("/api/token/search", keyword="fir").data
    read = customer.get(f"/api/token/{made['id']}").data

    masked = f"{made['key'][:7]}...{made['key'][-4:]}"
    assert [item["key"] for item in listed + searched] == [masked, masked]
    assert read["key"] == made["key"]


def test_a_key_is_nobodys_business_but_its_owners(house: House) -> None:
    customer, other = house.user(), house.user()
    made = customer.post("/api/token/", {"name": "first", "unlimited_quota": True}).data

    for person in (other, house.root):
        assert person.get("/api/token/").data == []
        assert person.get("/api/token/search", token=made["key"]).data == []
        assert person.get(f"/api/token/{made['id']}").status == 404
        assert person.put("/api/token/", {"id": made["id"], "name": "mine"}).status == 404
        assert person.put("/api/token/?status_only=1", {"id": made["id"], "status": 2}).status == 404
        assert person.delete(f"/api/token/{made['id']}").status == 404

    assert customer.get(f"/api/token/{made['id']}").data["name"] == "first"


def test_keys_are_listed_newest_first_in_pages_from_zero(house: House) -> None:
    customer = house.user()
    ids = [customer.post("/api/token/", {"name": f"k{n}", "unlimited_quota": True}).data["id"] for n in range(3)]

    pages = [[item["id"] for item in customer.get("/api/token/", p=p, size=2).data] for p in (0, 1, 2)]

    assert pages == [[ids[2], ids[1]], [ids[0]], []]


def test_a_key_is_found_by_part_of_its_text(house: House) -> None:
    customer = house.user()
    made = [customer.post("/api/token/", {"name": "same", "unlimited_quota": True}).data for _ in range(3)]

    for part in (made[1]["key"], made[1]["key"][:15], made[1]["key"][10:20]):
        found = customer.get("/api/token/search", keyword="", token=part).data
        assert [item["id"] for item in found] == [made[1]["id"]]


def test_an_edit_of_a_key_changes_what_it_names(house: House) -> None:
    customer = house.user()
    made = customer.post("/api/token/", {"name": "first", "remain_quota": 500}).data

    edited = customer.put(
        "/api/token/",
        {
            "id": made["id"],
            "name": "second",
            "model_limits_enabled": True,
            "model_limits": "gpt-4o, gpt-4o-mini,,gpt-4o",
            "allow_ips": "192.0.2.7\n2001:DB8::1\n10.0.0.0/8",
            "group": "vip",
        },
    ).data

    assert (edited["name"], edited["group"], edited["model_limits_enabled"]) == ("second", "vip", True)
    assert edited["model_limits"] == "gpt-4o,gpt-4o-mini"
    assert edited["allow_ips"] == "192.0.2.7\n2001:db8::1\n10.0.0.0/8"
    assert (edited["remain_quota"], edited["expired_time"], edited["key"]) == (500, -1, made["key"])


def test_writing_back_a_key_as_it_was_read_changes_nothing(house: House) -> None:
    customer = house.user(quota=100)
    made = customer.post("/api/token/", {"name": "first", "remain_quota": 50, "allow_ips": "192.0.2.7"}).data
    house.spend(customer.id, made["id"], 1_500, capped=True)
    read = customer.get(f"/api/token/{made['id']}").data
    before = house.head()

    assert customer.put("/api/token/", read).status == 200

    assert house.head() == before
    assert customer.get(f"/api/token/{made['id']}").data["remain_quota_mills"] == "48500"


def test_a_limit_is_set_moved_and_taken_away(house: House) -> None:
    customer = house.user(quota=100)
    made = customer.post("/api/token/", {"name": "k", "remain_quota": 50}).data

    def after(**fields: object) -> tuple[int, bool]:
        data = customer.put("/api/token/", {"id": made["id"], **fields}).data
        return data["remain_quota"], data["unlimited_quota"]

    assert after(remain_quota=20) == (20, False)
    assert after(quota_delta=7) == (27, False)
    assert after(remain_quota=30, quota_seen=27) == (30, False)
    assert after(unlimited_quota=True) == (0, True)
    assert after(unlimited_quota=True, remain_quota=-1000) == (0, True)
    assert after(unlimited_quota=False, remain_quota=9) == (9, False)


def test_a_limit_with_what_was_seen_keeps_what_was_spent_meanwhile(house: House) -> None:
    customer = house.user(quota=100)
    made = customer.post("/api/token/", {"name": "k", "remain_quota": 50}).data
    house.spend(customer.id, made["id"], 20_000, capped=True)

    edited = customer.put("/api/token/", {"id": made["id"], "remain_quota": 60, "quota_seen": 50}).data

    assert edited["remain_quota"] == 40


def test_a_limit_does_not_fall_below_nothing(house: House) -> None:
    customer = house.user(quota=100)
    made = customer.post("/api/token/", {"name": "k", "remain_quota": 5}).data
    before = house.head()

    answer = customer.put("/api/token/", {"id": made["id"], "quota_delta": -6, "name": "changed"})

    assert answer.status == 422
    assert house.head() == before


def test_what_a_key_spent_is_shown_with_the_time_of_its_last_charge(house: House) -> None:
    customer = house.user(quota=100)
    made = customer.post("/api/token/", {"name": "k", "remain_quota": 50}).data
    house.spend(customer.id, made["id"], 2_500, capped=True)

    (shown,) = customer.get("/api/token/").data

    assert (shown["used_quota"], shown["used_quota_mills"]) == (3, "2500")
    assert (shown["remain_quota"], shown["remain_quota_mills"]) == (47, "47500")
    assert abs(shown["accessed_time"] - time()) < 60


def test_a_key_is_switched_off_and_on_by_its_status_alone(house: House) -> None:
    customer = house.user()
    made = customer.post("/api/token/", {"name": "k", "unlimited_quota": True}).data

    off = customer.put("/api/token/?status_only=true", {"id": made["id"], "status": 2, "name": "ignored"}).data
    on = customer.put("/api/token/?status_only=true", {"id": made["id"], "status": 1}).data

    assert (off["status"], off["name"]) == (2, "k")
    assert on["status"] == 1


def test_a_status_counts_only_where_it_alone_is_asked_for(house: House) -> None:
    customer = house.user()
    made = customer.post("/api/token/", {"name": "k", "unlimited_quota": True}).data

    assert customer.put("/api/token/", {"id": made["id"], "status": 2}).data["status"] == 1


def test_an_expired_key_shows_so_and_is_not_enabled_before_it_lives_longer(house: House) -> None:
    customer = house.user()
    made = customer.post("/api/token/", {"name": "k", "unlimited_quota": True, "expired_time": 1_600_000_000}).data

    refused = customer.put("/api/token/?status_only=1", {"id": made["id"], "status": 1})
    extended = customer.put("/api/token/", {"id": made["id"], "expired_time": 0}).data

    assert made["status"] == 3
    assert refused.status == 409
    assert "expired_time" in refused.message
    assert (extended["status"], extended["expired_time"]) == (1, -1)


def test_a_key_that_used_up_its_limit_shows_so_and_is_not_enabled_before_it_has_more(house: House) -> None:
    customer = house.user(quota=100)
    made = customer.post("/api/token/", {"name": "k", "remain_quota": 5}).data
    house.spend(customer.id, made["id"], 5_000, capped=True)

    assert customer.get("/api/token/").data[0]["status"] == 4
    refused = customer.put("/api/token/?status_only=1", {"id": made["id"], "status": 1})
    raised = customer.put("/api/token/", {"id": made["id"], "remain_quota": 1}).data

    assert refused.status == 409
    assert raised["status"] == 1


def test_a_deleted_key_is_gone(house: House) -> None:
    customer = house.user()
    made = customer.post("/api/token/", {"name": "k", "unlimited_quota": True}).data

    assert customer.delete(f"/api/token/{made['id']}").status == 200

    assert customer.get("/api/token/").data == []
    assert customer.get(f"/api/token/{made['id']}").status == 404
    assert customer.delete(f"/api/token/{made['id']}").status == 404
    digest = house.books.vault.digest("key", made["key"].removeprefix("sk-"))
    assert house.books.directory.authenticate(digest) is None


def test_a_key_that_is_made_twice_under_one_idempotency_key_is_one_key(house: House) -> None:
    customer = house.user()
    body = {"name": "k", "unlimited_quota": True}

    first, second = (customer.send("POST", "/api/token/", body, headers={"Idempotency-Key": "a"}) for _ in range(2))

    assert first.data == second.data
    assert len(customer.get("/api/token/").data) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x" * 65},
        {"name": 5},
        {"remain_quota": "many"},
        {"remain_quota": -1},
        {"remain_quota": True},
        {"remain_quota": 1.0},
        {"remain_quota": 10**16},
        {"unlimited_quota": 1},
        {"unlimited_quota": "true"},
        {"expired_time": -2},
        {"expired_time": "never"},
        {"expired_time": 10**17},
        {"model_limits_enabled": "yes"},
        {"model_limits": ["gpt-4o"]},
        {"model_limits": "x" * 70_000},
        {"allow_ips": "not an address"},
        {"allow_ips": "192.0.2.7\n300.1.1.1"},
        {"group": "svip"},
        {"group": 7},
    ],
    ids=lambda wrong: str(wrong)[:40],
)
def test_a_key_with_a_field_that_does_not_fit_is_neither_made_nor_changed(
    quiet_house: House, quiet_customer: Person, quiet_key: Json, wrong: Json
) -> None:
    before = quiet_house.head()

    answers = [
        quiet_customer.post("/api/token/", {"name": "new", **wrong}),
        quiet_customer.put("/api/token/", {"id": quiet_key["id"], "name": "new", **wrong}),
    ]

    assert [answer.status for answer in answers] == [422, 422]
    assert all(next(iter(wrong)) in answer.message for answer in answers)
    assert quiet_house.head() == before


def test_a_user_may_name_the_own_group_and_those_that_are_offered_to_all(house: House) -> None:
    customer = house.user(group="partners")

    groups = customer.get("/api/user/self/groups").data

    assert set(groups) == {"default", "vip", "partners"}
    assert customer.post("/api/token/", {"name": "k", "group": "partners"}).status == 200
    assert house.user().post("/api/token/", {"name": "k", "group": "partners"}).status == 422


def test_a_user_who_is_deleted_gets_no_more_keys(house: House) -> None:
    customer = house.user()
    house.root.delete(f"/api/user/{customer.id}")

    assert customer.post("/api/token/", {"name": "k", "unlimited_quota": True}).status == 401
    assert house.guest().post("/api/user/login", {"username": customer.username, "password": PASSWORD}).status == 401
