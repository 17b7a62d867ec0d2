"""The shapes of the released products: where their answer was right, ours has each of its fields, with the same JSON type."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.house import House, Json

RECORDED_TO_ASK: dict[str, tuple[str, str]] = {
    "login-ok": ("POST", "/api/user/login"),
    "self": ("GET", "/api/user/self"),
    "users-list": ("GET", "/api/user/?p=1&page_size=10"),
    "users-get": ("GET", "/api/user/2"),
    "tokens-list-p1": ("GET", "/api/token/?p=0&size=2"),
    "tokens-get": ("GET", "/api/token/1"),
    "channels-list-p1": ("GET", "/api/channel/?p=0&page_size=2"),
    "channels-get": ("GET", "/api/channel/1"),
    "options-list": ("GET", "/api/option/"),
    "logs-all": ("GET", "/api/log/?p=1&page_size=3"),
    "logs-self-stat": ("GET", "/api/log/self/stat"),
    "key-log-owner": ("GET", "/api/log/self/search?keyword=2"),
    "data-self-rows": ("GET", "/api/data/self"),
    "pricing-user": ("GET", "/api/pricing"),
    "status-before-setup": ("GET", "/api/status"),
    "setup-status-after": ("GET", "/api/setup"),
    "self-groups": ("GET", "/api/user/self/groups"),
    "models-user": ("GET", "/api/user/models"),
    "content-notice": ("GET", "/api/notice"),
    "channels-models-enabled": ("GET", "/api/channel/models_enabled"),
    "access-token-create": ("GET", "/api/user/token"),
}
OPTIONAL = {"openai_organization", "test_model", "tag", "setting", "param_override", "access_token", "DeletedAt"}
"""Null or a text, depending on the thing and not on the product."""
FREE_KEYS = {"group_ratio", "usable_group", "chats[]"}
"""Objects whose names are the operator's."""


def folder() -> Path:
    shared = os.environ.get("VELOERA_SHARED")
    return (Path(shared) if shared else Path(__file__).parents[3] / "shared") / "golden"


def recordings() -> Iterator[Json]:
    with (folder() / "api.jsonl").open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


@pytest.fixture
def lived_in(house: House) -> House:
    """A site with a user, a key, channels and charges, so that no list is empty."""
    house.channel(setting='{"force_format":true}', tag="t", model_mapping='{"a":"b"}')
    house.root.put("/api/user/", {"id": house.user().id, "quota_delta": 100})
    key = house.root.post("/api/token/", {"name": "main", "remain_quota": 500}).data
    house.spend(1, key["id"], 1_500, capped=True, channel=1)
    return house


@pytest.mark.skipif(not (folder() / "api.jsonl").exists(), reason="the recordings are not part of the repository")
def test_every_field_of_the_recorded_answers_is_there_with_its_type(lived_in: House) -> None:
    missing: dict[str, list[str]] = {}
    for recording in recordings():
        asked = RECORDED_TO_ASK.get(recording["id"])
        if asked is None:
            continue
        body = {"username": "root", "password": "root of all 1"} if asked[0] == "POST" else None
        ours = lived_in.root.send(*asked, body).body
        found = list(differences(recording["veloera"]["body"], ours, ""))
        if found:
            missing[recording["id"]] = found

    assert missing == {}


def differences(theirs: Any, ours: Any, path: str) -> Iterator[str]:
    """Fields of theirs that ours lacks, or has with another type."""
    if path.rsplit(".", 1)[-1] in OPTIONAL and (theirs is None or ours is None):
        return
    if kind(theirs) != kind(ours):
        yield f"{path}: theirs is {kind(theirs)}, ours {kind(ours)}"
    elif isinstance(theirs, dict) and path.rsplit(".", 1)[-1] not in FREE_KEYS:
        for name, value in theirs.items():
            if name not in ours:
                yield f"{path}.{name}: not there"
            else:
                yield from differences(value, ours[name], f"{path}.{name}")
    elif isinstance(theirs, list) and theirs:
        assert ours, f"{path}: nothing to compare with"
        yield from differences(theirs[0], ours[0], f"{path}[]")


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__
