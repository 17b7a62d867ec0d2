"""What everybody may see of a site, and how its first account is made."""

from __future__ import annotations

import pytest

from tests.api.house import House, Json

FIRST: Json = {"username": "owner", "password": "a first password", "confirmPassword": "a first password"}


def test_the_status_says_what_operators_set(house: House) -> None:
    house.option("SystemName", "My gateway")
    house.option("Price", "7.25")
    house.option("CheckInEnabled", "true")

    status = house.guest().get("/api/status").data

    assert (status["system_name"], status["price"], status["check_in_enabled"]) == ("My gateway", 7.25, True)
    assert (status["quota_per_unit"], status["setup"]) == (500_000, True)


def test_the_operators_texts_are_everybodys_to_read(house: House) -> None:
    for option, path in (("Notice", "notice"), ("About", "about"), ("HomePageContent", "home_page_content")):
        house.option(option, f"text of {option}")
        assert house.guest().get(f"/api/{path}").data == f"text of {option}"


def test_a_health_question_of_an_administrator_is_answered_by_the_ledger(house: House) -> None:
    assert house.root.get("/api/status/test").data == {"head": house.head()}


def test_a_site_without_an_owner_says_so_and_takes_its_first(empty_house: House) -> None:
    guest = empty_house.guest()
    before = guest.get("/api/setup").data

    made = guest.post("/api/setup", {**FIRST, "SelfUseModeEnabled": True, "DemoSiteEnabled": False})

    assert before == {"status": False, "root_init": False, "database_type": "sqlite"}
    assert made.status == 200
    assert guest.get("/api/setup").data["status"] is True
    owner = empty_house.enter("owner", "a first password")
    assert (owner.me()["role"], owner.me()["quota"]) == (100, 100_000_000)
    assert guest.get("/api/status").data["self_use_mode_enabled"] is True


def test_a_site_is_set_up_once(house: House) -> None:
    before = house.head()

    answer = house.guest().post("/api/setup", FIRST)

    assert answer.status == 400
    assert house.head() == before


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"password": "short", "confirmPassword": "short"}, 422),
        ({"confirmPassword": "another password"}, 400),
        ({"username": ""}, 422),
        ({"username": None}, 422),
        ({"SelfUseModeEnabled": "yes"}, 422),
    ],
    ids=str,
)
def test_a_first_account_that_does_not_fit_is_not_made(empty_house: House, wrong: Json, status: int) -> None:
    answer = empty_house.guest().post("/api/setup", {**FIRST, **wrong})

    assert answer.status == status
    assert "a first password" not in str(answer.body)
    assert empty_house.head() == 0


def test_groups_are_listed_with_their_ratio_and_description(house: House) -> None:
    house.option("GroupRatio", '{"default": 1, "vip": 0.5, "hidden": 2}')
    house.option("UserUsableGroups", '{"default": "everybody", "vip": "friends", "unpriced": "none"}')

    assert house.root.get("/api/group/").data == ["default", "hidden", "vip"]
    assert house.guest().get("/api/user/groups").data == {
        "default": {"ratio": 1, "desc": "everybody"},
        "vip": {"ratio": 0.5, "desc": "friends"},
    }
    assert set(house.user(group="hidden").get("/api/user/self/groups").data) == {"default", "vip", "hidden"}


def test_a_user_sees_the_models_of_the_groups_that_are_open_to_them(house: House) -> None:
    house.channel(models="open-model")
    house.channel(models="hidden-model", group="hidden")

    assert house.user().get("/api/user/models").data == ["open-model"]
    assert house.user(group="hidden").get("/api/user/models").data == ["hidden-model", "open-model"]


def test_prices_are_those_that_a_call_would_be_charged_by(house: House) -> None:
    house.option("ModelRatio", '{"by-ratio": 1.5}')
    house.option("CompletionRatio", '{"by-ratio": 4}')
    house.option("ModelPrice", '{"by-call": 0.04}')
    house.channel(models="by-ratio,by-call,alias", group="default,vip", model_mapping='{"alias": "by-call"}')

    answer = house.guest().get("/api/pricing")

    by_name = {price["model_name"]: price for price in answer.data}
    assert (by_name["by-ratio"]["quota_type"], by_name["by-ratio"]["model_ratio"]) == (0, 1.5)
    assert by_name["by-ratio"]["completion_ratio"] == 4
    assert (by_name["by-call"]["quota_type"], by_name["by-call"]["model_price"]) == (1, 0.04)
    assert by_name["alias"]["model_price"] == 0.04
    assert by_name["by-ratio"]["enable_groups"] == ["default", "vip"]
    assert answer.body["group_ratio"] == {"default": 1, "vip": 1}
    assert set(answer.body["usable_group"]) == {"default", "vip"}


def test_prices_of_groups_that_are_not_open_are_not_told(house: House) -> None:
    house.channel(models="hidden-model", group="hidden")

    assert house.guest().get("/api/pricing").data == []
    assert [price["model_name"] for price in house.user(group="hidden").get("/api/pricing").data] == ["hidden-model"]
