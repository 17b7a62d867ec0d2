"""Channels as administrators run them: a credential that goes in, and comes out of one route only."""

from __future__ import annotations

import json

import pytest

from domain.events import ChannelKeyShown
from tests.api.house import House, Json

FULL: Json = {
    "type": 1,
    "name": "one",
    "key": "sk-up-a",
    "base_url": "http://127.0.0.1:9/a",
    "models": "gpt-4o, gpt-4o-mini",
    "group": "default,vip",
    "groups": ["default"],
    "priority": 5,
    "weight": 3,
    "model_mapping": '{"gpt-4o":"deployed"}',
    "status_code_mapping": '{"429":"503"}',
    "other": "2024-02-01",
    "auto_ban": 0,
    "tag": "blue",
    "setting": '{"force_format":true}',
    "param_override": '{"top_p":0.5}',
    "openai_organization": "org-1",
    "test_model": "gpt-4o-mini",
    "model_prefix": "pre/",
}


@pytest.fixture(scope="module")
def quiet_channel(quiet_house: House) -> Json:
    return quiet_house.channel()


def test_a_new_channel_serves_its_models_at_once(house: House) -> None:
    made = house.root.post("/api/channel/", FULL).data

    assert made["id"] == 1
    (tier,) = house.books.directory.routes("vip", "pre/gpt-4o")
    assert (tier[0].channel.id, tier[0].secret, tier[0].upstream_model) == (1, "sk-up-a", "deployed")


def test_a_channel_reads_as_it_was_written(house: House) -> None:
    made = house.root.post("/api/channel/", FULL).data

    read = house.root.get(f"/api/channel/{made['id']}").data

    expected = {name: value for name, value in FULL.items() if name not in ("key", "groups")}
    assert {name: read[name] for name in expected} == {**expected, "models": "gpt-4o,gpt-4o-mini"}
    assert read["status"] == 1
    assert (read["used_quota"], read["balance"], read["response_time"]) == (0, 0, 0)


def test_no_list_shows_a_credential_and_showing_it_leaves_a_fact(house: House) -> None:
    admin = house.admin()
    made = house.root.post("/api/channel/", FULL).data
    paths = [f"/api/channel/{made['id']}", "/api/channel/", "/api/channel/?tag_mode=true", "/api/channel/search"]
    paths += ["/api/log/", "/api/ledger/audit", "/api/option/"]

    bodies = "".join(str(house.root.get(path).body) for path in paths)
    before = house.head()
    shown = admin.get(f"/api/channel/{made['id']}/key").data

    assert "sk-up-a" not in bodies
    assert shown == {"id": made["id"], "key": "sk-up-a"}
    (fact,) = [recorded.fact for recorded in house.books.store.read_log(before, 10)]
    assert isinstance(fact, ChannelKeyShown)
    assert (fact.id, fact.actor) == (made["id"], admin.id)


def test_an_edit_without_a_key_keeps_the_credential_and_one_with_it_replaces_it(house: House) -> None:
    made = house.root.post("/api/channel/", FULL).data
    read = house.root.get(f"/api/channel/{made['id']}").data

    house.root.put("/api/channel/", {**read, "name": "two"})
    kept = house.root.get(f"/api/channel/{made['id']}/key").data["key"]
    house.root.put("/api/channel/", {"id": made["id"], "key": "sk-up-b"})
    replaced = house.root.get(f"/api/channel/{made['id']}/key").data["key"]

    assert (kept, replaced) == ("sk-up-a", "sk-up-b")
    assert house.root.get(f"/api/channel/{made['id']}").data["name"] == "two"


def test_writing_back_a_channel_as_it_was_read_changes_nothing(house: House) -> None:
    made = house.root.post("/api/channel/", FULL).data
    before = house.head()

    assert house.root.put("/api/channel/", house.root.get(f"/api/channel/{made['id']}").data).status == 200

    assert house.head() == before


def test_texts_are_cleared_by_empty_texts_and_names_are_not(house: House) -> None:
    made = house.root.post("/api/channel/", FULL).data
    optional = ("base_url", "model_mapping", "status_code_mapping", "other", "tag", "setting", "param_override")

    cleared = house.root.put(
        "/api/channel/", {"id": made["id"], **dict.fromkeys(optional, ""), "name": "", "models": "", "group": ""}
    ).data

    assert [cleared[name] or "" for name in optional] == [""] * len(optional)
    assert (cleared["name"], cleared["models"], cleared["group"]) == ("one", "gpt-4o,gpt-4o-mini", "default,vip")


def test_a_channel_is_switched_off_and_on_by_its_status(house: House) -> None:
    made = house.channel()

    off = house.root.put("/api/channel/", {"id": made["id"], "status": 2}).data
    routes_while_off = house.books.directory.routes("default", "gpt-4o")
    on = house.root.put("/api/channel/", {"id": made["id"], "status": 1}).data

    assert (off["status"], routes_while_off, on["status"]) == (2, (), 1)
    assert house.root.put("/api/channel/", {"id": made["id"], "status": 3}).status == 422


def test_channels_are_listed_by_priority_or_by_id_in_pages_from_zero(house: House) -> None:
    low, high, middle = (house.channel(priority=priority)["id"] for priority in (1, 9, 5))

    by_priority = [item["id"] for item in house.root.get("/api/channel/", p=0, page_size=10).data]
    by_id = [item["id"] for item in house.root.get("/api/channel/", id_sort="true", page_size=2).data]

    assert by_priority == [high, middle, low]
    assert by_id == [middle, high]


def test_channels_are_found_by_id_name_group_and_model(house: House) -> None:
    made = house.root.post("/api/channel/", FULL).data
    house.channel(name="another", models="claude")

    for query in ({"keyword": str(made["id"])}, {"keyword": "on", "group": "vip"}, {"model": "4o-mini"}):
        found = house.root.get("/api/channel/search", **query).data
        assert [item["id"] for item in found] == [made["id"]]


def test_models_are_listed_known_ones_and_served_ones(house: House) -> None:
    house.channel(models="m-one,m-two")
    off = house.channel(models="m-off")
    house.root.put("/api/channel/", {"id": off["id"], "status": 2})

    assert house.root.get("/api/channel/models_enabled").data == ["m-one", "m-two"]
    known = house.root.get("/api/channel/models").data
    assert {"id": "gpt-4o", "object": "model"}.items() <= next(m for m in known if m["id"] == "gpt-4o").items()


def test_a_deleted_channel_is_gone_and_its_credential_erased(house: House) -> None:
    made = house.channel()
    stored = house.books.directory.channel(made["id"])
    assert stored is not None

    assert house.root.delete(f"/api/channel/{made['id']}").status == 200

    assert house.books.vault.get(stored.secret) is None
    assert house.books.directory.routes("default", "gpt-4o") == ()
    for path in (f"/api/channel/{made['id']}", f"/api/channel/{made['id']}/key"):
        assert house.root.get(path).status == 404
    assert house.root.delete(f"/api/channel/{made['id']}").status == 404


def test_several_channels_are_deleted_all_or_none(house: House) -> None:
    ids = [house.channel()["id"] for _ in range(3)]
    before = house.head()

    refused = house.root.post("/api/channel/batch", {"ids": [ids[0], 999]})
    head_after_refusal = house.head()
    deleted = house.root.post("/api/channel/batch", {"ids": [*ids[:2], ids[0]]}).data

    assert (refused.status, head_after_refusal) == (404, before)
    assert deleted == 2
    assert [item["id"] for item in house.root.get("/api/channel/").data] == [ids[2]]


def test_what_a_channel_answered_for_is_shown(house: House) -> None:
    customer, made = house.user(quota=100), house.channel()
    house.spend(customer.id, 0, 2_500, channel=made["id"])

    shown = house.root.get(f"/api/channel/{made['id']}").data

    assert (shown["used_quota"], shown["used_quota_mills"]) == (3, "2500")


def test_a_channel_that_is_made_twice_under_one_idempotency_key_is_one_channel(house: House) -> None:
    first, second = (house.root.send("POST", "/api/channel/", FULL, headers={"Idempotency-Key": "a"}) for _ in range(2))

    assert first.data["id"] == second.data["id"]
    assert len(house.root.get("/api/channel/").data) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": 14},
        {"type": "1"},
        {"type": True},
        {"models": "m" * 256},
        {"models": ["gpt-4o"]},
        {"name": "x" * 256},
        {"base_url": "ftp://example.com"},
        {"base_url": "example.com"},
        {"base_url": "http://a b"},
        {"base_url": "http://example.com:99999"},
        {"priority": "5"},
        {"priority": 1.5},
        {"weight": -1},
        {"auto_ban": True},
        {"auto_ban": 2},
        {"model_mapping": "{nope"},
        {"model_mapping": '["a"]'},
        {"model_mapping": '{"a":1}'},
        {"model_mapping": {"a": "b"}},
        {"status_code_mapping": '{"200":"500"}'},
        {"status_code_mapping": '{"429":"200"}'},
        {"setting": "[]"},
        {"setting": "NaN"},
        {"param_override": '"text"'},
        {"status": 4},
        {"group": ",".join(f"g{n}" for n in range(101))},
    ],
    ids=lambda wrong: json.dumps(wrong)[:40],
)
def test_a_channel_with_a_field_that_does_not_fit_is_neither_made_nor_changed(
    quiet_house: House, quiet_channel: Json, wrong: Json
) -> None:
    before = quiet_house.head()

    answers = [
        quiet_house.root.post("/api/channel/", {**FULL, **wrong}),
        quiet_house.root.put("/api/channel/", {"id": quiet_channel["id"], "name": "changed", **wrong}),
    ]

    assert [answer.status for answer in answers] == [422, 422]
    assert all(next(iter(wrong)) in answer.message for answer in answers)
    assert quiet_house.head() == before


@pytest.mark.parametrize("missing", ["type", "models"])
def test_a_channel_needs_a_type_and_a_model(house: House, missing: str) -> None:
    answer = house.root.post("/api/channel/", {name: value for name, value in FULL.items() if name != missing})

    assert answer.status == 422
    assert missing in answer.message


def test_a_custom_channel_needs_an_address(house: House) -> None:
    answer = house.root.post("/api/channel/", {"type": 8, "name": "c", "models": "m"})

    assert answer.status == 422
    assert "base_url" in answer.message


def test_a_refusal_repeats_neither_the_credential_nor_a_setting(house: House) -> None:
    bodies = [
        house.root.post("/api/channel/", {**FULL, "key": ["sk-up-a"]}).body,
        house.root.post("/api/channel/", {**FULL, "setting": "proxy=http://user:hunter2@host"}).body,
    ]

    assert all(body["success"] is False for body in bodies)
    assert "sk-up-a" not in str(bodies)
    assert "hunter2" not in str(bodies)


@pytest.mark.parametrize(
    "proxy", ["ftp://me:hunter2@host:1", "socks5://me:hunter2@host", "http://me:hunter2@host:1/x", 7, ["http://a:1"]]
)
def test_a_proxy_that_could_not_be_used_is_refused_without_its_password(house: House, proxy: object) -> None:
    answer = house.root.post("/api/channel/", {**FULL, "setting": json.dumps({"proxy": proxy})})

    assert answer.status == 422
    assert "setting: " in answer.message
    assert "hunter2" not in answer.message


@pytest.mark.parametrize("proxy", ["", "http://me:hunter2@host:8080", "socks5://[::1]:1080"])
def test_a_proxy_that_can_be_used_is_taken(house: House, proxy: str) -> None:
    setting = json.dumps({"proxy": proxy})

    made = house.root.post("/api/channel/", {**FULL, "setting": setting}).data

    assert house.root.get(f"/api/channel/{made['id']}").data["setting"] == setting
