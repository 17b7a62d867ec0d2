"""Users as administrators see and change them: what works, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import pytest

from tests.api.house import PASSWORD, House, Json, Person


def test_a_new_user_is_there_at_once_with_the_quota_for_new_users(house: House) -> None:
    house.option("QuotaForNewUser", "700")

    made = house.root.post("/api/user/", {"username": "alice", "password": PASSWORD, "display_name": "Alice"}).data

    assert (made["username"], made["display_name"], made["role"], made["quota"]) == ("alice", "Alice", 1, 700)
    assert house.enter("alice").me()["quota_mills"] == "700000"


def test_a_name_belongs_to_one_user(house: House) -> None:
    house.root.post("/api/user/", {"username": "alice", "password": PASSWORD})
    before = house.head()

    answer = house.root.post("/api/user/", {"username": "alice", "password": PASSWORD})

    assert answer.status == 409
    assert house.head() == before


def test_a_user_that_is_made_twice_under_one_idempotency_key_is_one_user(house: House) -> None:
    body = {"username": "alice", "password": PASSWORD}

    first, second = (house.root.post("/api/user/", body, idempotency_key="k1") for _ in range(2))

    assert first.data["id"] == second.data["id"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": ""},
        {"username": "averyveryverylongname"},
        {"username": " blanks "},
        {"username": "two\nlines"},
        {"username": "mail@example.com"},
        {"username": 5},
        {"password": "short"},
        {"password": "x" * 129},
        {"password": None},
        {"display_name": "x" * 51},
        {"role": "1"},
        {"role": 5},
        {"role": True},
    ],
    ids=str,
)
def test_a_user_with_a_field_that_does_not_fit_is_not_made(quiet_house: House, wrong: Json) -> None:
    before = quiet_house.head()

    answer = quiet_house.root.post("/api/user/", {"username": "alice", "password": PASSWORD, **wrong})

    assert answer.status == 422
    assert next(iter(wrong)) in answer.message
    assert quiet_house.head() == before


def test_no_message_repeats_a_password(house: House) -> None:
    answer = house.root.post("/api/user/", {"username": "alice", "password": {"secret": "hunter2"}})

    assert answer.status == 422
    assert "hunter2" not in str(answer.body)


def test_a_list_of_users_is_newest_first_and_counts_from_one(house: House) -> None:
    made = [house.user().id for _ in range(3)]

    page = house.root.get("/api/user/", p=2, page_size=2).data

    assert [item["id"] for item in page["items"]] == [made[0], 1]
    assert (page["total"], page["page"], page["page_size"]) == (4, 2, 2)


def test_a_search_finds_users_by_name_by_id_and_by_group(house: House) -> None:
    alice = house.root.post("/api/user/", {"username": "alice", "password": PASSWORD, "display_name": "Wonder"}).data
    house.root.put("/api/user/", {"id": alice["id"], "group": "vip"})

    found = [
        [item["id"] for item in house.root.get("/api/user/search", **query).data["items"]]
        for query in ({"keyword": "lic"}, {"keyword": "Wond"}, {"keyword": str(alice["id"])}, {"group": "vip"})
    ]

    assert found == [[alice["id"]]] * 4
    assert house.root.get("/api/user/search", keyword="li", group="svip").data["items"] == []


def test_an_edit_changes_what_it_names_and_nothing_else(house: House) -> None:
    customer = house.user(quota=10)

    edited = house.root.put("/api/user/", {"id": customer.id, "display_name": "Shown", "group": "vip"}).data

    assert (edited["username"], edited["display_name"], edited["group"]) == (customer.username, "Shown", "vip")
    assert edited["quota"] == 10
    assert customer.get("/api/user/self").status == 200


def test_a_user_who_is_renamed_frees_the_old_name(house: House) -> None:
    customer = house.user()
    old = customer.username

    house.root.put("/api/user/", {"id": customer.id, "username": "renamed"})

    assert house.enter("renamed").id == customer.id
    assert house.guest().post("/api/user/login", {"username": old, "password": PASSWORD}).status == 401
    assert house.root.post("/api/user/", {"username": old, "password": PASSWORD}).status == 200


def test_a_user_cannot_be_renamed_to_somebody_else(house: House) -> None:
    customer, other = house.user(), house.user()
    before = house.head()

    body = {"id": customer.id, "username": other.username, "group": "vip", "quota_delta": 5}
    answer = house.root.put("/api/user/", body)

    assert answer.status == 409
    assert house.head() == before


def test_an_edit_that_writes_back_what_was_read_changes_nothing(house: House) -> None:
    customer = house.user(quota=10)
    read = house.root.get(f"/api/user/{customer.id}").data
    before = house.head()

    answer = house.root.put("/api/user/", read)

    assert answer.status == 200
    assert house.head() == before


def test_a_user_whom_a_migration_gave_a_long_name_can_be_edited(house: House) -> None:
    long = house.migrated("a_name_of_more_than_twenty_characters", "")

    edited = house.root.put("/api/user/", {"id": long, "display_name": "Short", "group": "vip"})

    assert edited.data["username"] == "a_name_of_more_than_twenty_characters"


def test_actions_change_standing_and_say_how_it_is_now(house: House) -> None:
    customer = house.user()

    def after(action: str) -> tuple[int, int]:
        data = house.root.post("/api/user/manage", {"id": customer.id, "action": action}).data
        return data["role"], data["status"]

    assert after("disable") == (1, 2)
    assert after("enable") == (1, 1)
    assert after("promote") == (10, 1)
    assert after("demote") == (1, 1)


def test_an_action_that_changes_nothing_records_nothing(house: House) -> None:
    customer = house.user()
    before = house.head()

    for action in ("enable", "demote"):
        assert house.root.post("/api/user/manage", {"id": customer.id, "action": action}).status == 200

    assert house.head() == before


def test_a_group_is_set_by_an_action_too(house: House) -> None:
    customer = house.user()

    answer = house.root.post("/api/user/manage", {"id": customer.id, "action": "group", "group": "vip"})

    assert answer.data["group"] == "vip"
    assert house.root.post("/api/user/manage", {"id": customer.id, "action": "group"}).status == 422


@pytest.mark.parametrize("action", ["explode", "", None, 7])
def test_an_action_that_we_do_not_know_is_refused(quiet_house: House, quiet_customer: Person, action: object) -> None:
    answer = quiet_house.root.post("/api/user/manage", {"id": quiet_customer.id, "action": action})

    assert answer.status == 422
    assert "action" in answer.message


@pytest.mark.parametrize("action", ["disable", "delete", "demote"])
def test_nobody_disables_deletes_or_demotes_the_root_account(house: House, action: str) -> None:
    admin = house.admin()

    answers = [person.post("/api/user/manage", {"id": 1, "action": action}) for person in (house.root, admin)]

    assert [answer.status for answer in answers] == [403, 403]
    assert house.root.me()["role"] == 100


def test_the_root_account_cannot_be_deleted_by_any_route(house: House) -> None:
    assert house.root.delete("/api/user/1").status == 403
    assert house.root.delete("/api/user/self").status == 403
    assert house.admin().delete("/api/user/1").status == 403


def test_an_administrator_has_no_power_over_equals_and_superiors(house: House) -> None:
    admin, other = house.admin(), house.admin()
    before = house.head()

    for target in (1, other.id, admin.id):
        assert admin.put("/api/user/", {"id": target, "quota_delta": 5}).status == 403
        assert admin.put("/api/user/", {"id": target, "password": "mine from now"}).status == 403
        assert admin.post("/api/user/manage", {"id": target, "action": "quota", "quota": 5}).status == 403
        assert admin.post("/api/user/manage", {"id": target, "action": "disable"}).status == 403
        assert admin.delete(f"/api/user/{target}").status == 403
    assert admin.get("/api/user/1").status == admin.get(f"/api/user/{other.id}").status == 403

    assert house.head() == before


def test_an_administrator_makes_users_and_no_administrators(house: House) -> None:
    admin, customer = house.admin(), house.user()

    assert admin.post("/api/user/", {"username": "plain", "password": PASSWORD}).status == 200
    assert admin.post("/api/user/", {"username": "peer", "password": PASSWORD, "role": 10}).status == 403
    assert admin.post("/api/user/manage", {"id": customer.id, "action": "promote"}).status == 403
    assert house.root.post("/api/user/", {"username": "second", "password": PASSWORD, "role": 100}).status == 403


def test_a_role_in_an_edit_is_checked_and_not_written(house: House) -> None:
    admin, customer = house.admin(), house.user()

    assert admin.put("/api/user/", {"id": customer.id, "role": 10}).status == 403
    assert house.root.put("/api/user/", {"id": customer.id, "role": 10}).data["role"] == 1


def test_a_deleted_user_stays_in_the_list_without_name_and_is_gone_otherwise(house: House) -> None:
    customer = house.user(quota=3)

    assert house.root.delete(f"/api/user/{customer.id}").status == 200

    (row,) = [item for item in house.root.get("/api/user/").data["items"] if item["id"] == customer.id]
    assert row["username"] == row["email"] == row["display_name"] == ""
    assert row["DeletedAt"].endswith("Z")
    assert house.root.get(f"/api/user/{customer.id}").status == 404
    assert house.root.delete(f"/api/user/{customer.id}").status == 404
    assert house.root.put("/api/user/", {"id": customer.id, "quota": 5}).status == 404
    assert house.root.post("/api/user/manage", {"id": customer.id, "action": "enable"}).status == 404


def test_one_may_change_the_own_name_and_delete_the_own_account(house: House) -> None:
    customer = house.user()

    assert customer.put("/api/user/self", {"username": "mynewname", "display_name": "Me"}).data["display_name"] == "Me"
    assert customer.delete("/api/user/self").status == 200

    assert customer.get("/api/user/self").status == 401
    assert house.guest().post("/api/user/login", {"username": "mynewname", "password": PASSWORD}).status == 401


def test_nobody_changes_the_own_money_role_or_group(house: House) -> None:
    customer = house.user(quota=5)
    mine = {"quota": 1_000_000, "quota_delta": 5, "role": 100, "group": "vip", "status": 1, "id": 1}

    assert customer.put("/api/user/self", mine).status == 200

    me = customer.me()
    assert (me["quota"], me["role"], me["group"], me["id"]) == (5, 1, "default", customer.id)


def test_a_plain_user_reaches_no_route_of_administrators(house: House) -> None:
    customer = house.user()
    gets = ["/api/user/", "/api/user/search", "/api/user/1", "/api/channel/", "/api/channel/1", "/api/channel/1/key"]
    gets += ["/api/channel/search", "/api/channel/models", "/api/channel/models_enabled", "/api/option/", "/api/log/"]
    gets += ["/api/log/stat", "/api/log/search", "/api/data/", "/api/group/", "/api/status/test", "/api/ledger/audit"]
    gets += ["/api/ledger/verify"]

    statuses = {path: customer.get(path).status for path in gets}

    assert set(statuses.values()) == {403}, statuses
    assert customer.post("/api/user/", {"username": "x", "password": PASSWORD}).status == 403
    assert customer.put("/api/user/", {"id": customer.id, "quota": 5}).status == 403
    assert customer.post("/api/user/manage", {"id": 1, "action": "disable"}).status == 403
    assert customer.post("/api/channel/", {"type": 1, "models": "m"}).status == 403
    assert customer.post("/api/channel/batch", {"ids": [1]}).status == 403
    assert customer.put("/api/option/", {"key": "Notice", "value": "hi"}).status == 403
    assert customer.post("/api/option/rest_model_ratio", {}).status == 403


def test_an_administrator_is_not_root(house: House) -> None:
    admin = house.admin()

    assert admin.get("/api/option/").status == 403
    assert admin.put("/api/option/", {"key": "Notice", "value": "hi"}).status == 403
    assert admin.get("/api/ledger/verify").status == 403
