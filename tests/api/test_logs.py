"""The usage log and its sums: everybody's for administrators, one's own for users, and not more than that."""

from __future__ import annotations

import json
from time import time

import pytest

from tests.api.house import House, Json, Person


@pytest.fixture
def spender(house: House) -> Person:
    """A user with a key who was charged twice, 2.5 quota and 1 quota, through one channel."""
    person = house.user(quota=100)
    channel = house.channel(name="upstream-one")
    key = person.post("/api/token/", {"name": "main", "unlimited_quota": True}).data
    person.key = key["key"]
    for cost_mills in (2_500, 1_000):
        house.spend(person.id, key["id"], cost_mills, channel=channel["id"])
    return person


def test_a_charge_is_a_row_with_its_rounded_quota_and_exact_mills(house: House, spender: Person) -> None:
    first, second = charged(spender.get("/api/log/self").data["items"])

    assert (first["quota"], first["quota_mills"]) == (1, "1000")
    assert (second["quota"], second["quota_mills"]) == (3, "2500")
    assert (first["token_name"], first["model_name"], first["prompt_tokens"], first["completion_tokens"]) == (
        "main",
        "gpt-4o",
        7,
        5,
    )
    assert json.loads(first["other"])["model_ratio"] == pytest.approx(1 / 27)
    assert len(first["request_id"]) == 32


def test_what_concerns_administrators_is_theirs_alone(house: House, spender: Person) -> None:
    own = charged(spender.get("/api/log/self").data["items"])[0]
    all_ = charged(house.root.get("/api/log/").data["items"])[0]

    assert json.loads(all_["other"])["admin_info"] == {"use_channel": ["1"]}
    assert all_["channel_name"] == "upstream-one"
    assert own["channel_name"] == ""
    assert not {"admin_info", "upstream_request_id"} & set(json.loads(own["other"]))
    assert "upstream-secret-id" not in str(spender.get("/api/log/self").body)


def test_a_user_sees_no_row_of_others_whatever_is_asked(house: House, spender: Person) -> None:
    other = house.user()

    for path in (
        "/api/log/self",
        f"/api/log/self?username={spender.username}&user_id={spender.id}",
        "/api/log/self?token_name=main",
        "/api/log/self/search?keyword=2",
    ):
        data = other.get(path).data
        assert (data["items"] if isinstance(data, dict) else data) == []
    assert other.get("/api/log/token", key=spender.key).data == []
    assert other.get("/api/log/self/stat", username=spender.username).data["quota_mills"] == "0"


def test_filters_choose_rows(house: House, spender: Person) -> None:
    def count(**query: object) -> int:
        total: int = house.root.get("/api/log/", **query).data["total"]
        return total

    assert count(type=2) == 2
    assert count(type=2, username=spender.username) == 2
    assert count(type=2, username="root") == 0
    assert count(type=2, token_name="main", model_name="gpt-4%", group="default", channel=1) == 2
    assert count(type=2, model_name="gpt-5%") == 0
    assert count(type=2, channel=2) == 0
    assert count(start_timestamp=int(time()) - 60, end_timestamp=int(time()) + 60, type=2) == 2
    assert count(end_timestamp=int(time()) - 3600) == 0


def test_a_call_is_found_by_its_request_id(house: House, spender: Person) -> None:
    request_id = charged(spender.get("/api/log/self").data["items"])[0]["request_id"]

    by_filter = spender.get("/api/log/self", request_id=request_id).data["items"]
    by_search = spender.get("/api/log/self/search", keyword=request_id).data

    assert [row["request_id"] for row in by_filter] == [row["request_id"] for row in by_search] == [request_id]


def test_a_search_takes_a_type_or_how_a_text_begins(house: House, spender: Person) -> None:
    assert len(house.root.get("/api/log/search", keyword="2").data) == 2
    assert len(house.root.get("/api/log/search", keyword="corrected by").data) == 1
    assert house.root.get("/api/log/search", keyword="nothing begins so").data == []


def test_sums_are_exact_over_what_is_chosen(house: House, spender: Person) -> None:
    assert spender.get("/api/log/self/stat").data == {"quota": 4, "quota_mills": "3500", "rpm": 2, "tpm": 24}
    assert house.root.get("/api/log/stat", username="root").data["quota_mills"] == "0"


def test_the_rows_of_a_key_are_its_owners_to_read_oldest_first(house: House, spender: Person) -> None:
    house.spend(spender.id, 0, 500)

    rows = spender.get("/api/log/token", key=spender.key).data

    assert [row["quota_mills"] for row in rows] == ["2500", "1000"]


def test_hours_add_up_what_their_rows_say(house: House, spender: Person) -> None:
    (own,) = spender.get("/api/data/self").data
    (all_,) = house.root.get("/api/data/").data
    (named,) = house.root.get("/api/data/", username=spender.username).data

    assert (own["count"], own["token_used"], own["quota"], own["quota_mills"]) == (2, 24, 4, "3500")
    assert own["created_at"] % 3600 == 0
    assert (own["user_id"], own["username"]) == (spender.id, spender.username)
    assert (all_["id"], all_["user_id"], all_["username"], all_["count"]) == (0, 0, "", 2)
    assert named["count"] == 2
    assert house.root.get("/api/data/", username="nobody").data == []


def test_users_see_at_most_thirty_days_of_hours(quiet_house: House, quiet_customer: Person) -> None:
    answer = quiet_customer.get("/api/data/self", start_timestamp=1, end_timestamp=9_999_999_999)

    assert answer.status == 422
    assert "30 days" in answer.message


@pytest.mark.parametrize("pattern", ["%a%b%c%d%e%", "x" * 200])
def test_a_pattern_that_would_cost_too_much_is_refused(quiet_house: House, pattern: str) -> None:
    assert quiet_house.root.get("/api/log/", model_name=pattern).status == 422


def charged(rows: list[Json]) -> list[Json]:
    return [row for row in rows if row["type"] == 2]
