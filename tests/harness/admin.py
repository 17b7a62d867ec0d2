"""The family's JSON API as a person uses it: one session, its users, keys, channels, options and logs.

Every answer comes in the envelope `{success, message, data}`; a refused one is raised as `ApiRefused`. Amounts are whole
quota where the family has them and integer mills where a name ends in `_mills`.
Paths and fields: reference of the family's administrative surface, section 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import httpx

Data = dict[str, object]


class ApiRefused(Exception):
    """The API said no. `status` is the HTTP status, `message` its own words."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path} -> {status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Balance:
    """What a user sees of their own money."""

    available_mills: int
    quota: int
    used_quota: int
    requests: int


class Session:
    """One person who is logged in: cookie and `Veloera-User` header."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=20.0)
        me = as_object(self.post("/api/user/login", {"username": username, "password": password}))
        self.id = as_int(me["id"])
        self.username = username
        self._http.headers["Veloera-User"] = str(self.id)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> object:
        """The `data` of the answer."""
        return self._data("GET", path, self._http.get(path, params=query))

    def post(self, path: str, body: Mapping[str, object]) -> object:
        return self._data("POST", path, self._http.post(path, json=body))

    def put(self, path: str, body: Mapping[str, object], **query: str) -> object:
        return self._data("PUT", path, self._http.put(path, json=body, params=query))

    def delete(self, path: str) -> object:
        return self._data("DELETE", path, self._http.delete(path))

    def raw(self, method: str, path: str, **arguments: object) -> httpx.Response:
        """The answer as it is, for tests of the envelope itself."""
        return self._http.request(method, path, **arguments)  # type: ignore[arg-type]

    def balance(self) -> Balance:
        """The own balance; the answer waits for what was committed before it was asked."""
        me = as_object(self.get("/api/user/self"))
        mills = int(as_text(me["quota_mills"]))
        return Balance(mills, as_int(me["quota"]), as_int(me["used_quota"]), as_int(me["request_count"]))

    def make_key(self, **fields: object) -> Data:
        """Make an API key of the own account; `data` with `id` and the whole `key`."""
        body: Data = {"name": "main", "expired_time": -1, "unlimited_quota": True, "remain_quota": 0, "group": ""}
        body |= {"model_limits_enabled": False, "model_limits": "", "allow_ips": ""}
        return as_object(self.post("/api/token/", {**body, **fields}))

    def set_key(self, key_id: int, **fields: object) -> None:
        """Change some fields of an own key; the others stay."""
        self.put("/api/token/", {**as_object(self.get(f"/api/token/{key_id}")), **fields})

    def make_user(self, username: str, password: str) -> None:
        self.post("/api/user/", {"username": username, "password": password, "display_name": username})

    def edit_user(self, user_id: int, **fields: object) -> None:
        """Change some fields of a user (`group`, `quota`, `quota_delta`); the others stay."""
        user = as_object(self.get(f"/api/user/{user_id}"))
        kept = {name: user[name] for name in ("id", "username", "display_name", "group", "role")}
        self.put("/api/user/", {**kept, "password": "", **fields})

    def manage_user(self, user_id: int, action: str) -> None:
        """`disable`, `enable`, `delete`, `promote` or `demote`."""
        self.post("/api/user/manage", {"id": user_id, "action": action})

    def make_channel(self, base_url: str, models: str, **fields: object) -> int:
        """Make a channel of OpenAI's type and give its id. Mappings are stored as JSON text, as in the family."""
        body: Data = {"type": 1, "name": "scripted", "key": "sk-upstream", "base_url": base_url, "models": models}
        body |= {"group": "default", "groups": ["default"], "priority": 0, "weight": 0}
        body |= {name: json.dumps(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
        return as_int(as_object(self.post("/api/channel/", body))["id"])

    def drop_channel(self, channel_id: int) -> None:
        self.delete(f"/api/channel/{channel_id}")

    def options(self) -> dict[str, str]:
        """All effective options by their names."""
        listed = cast(list[Data], self.get("/api/option/"))
        return {as_text(option["key"]): as_text(option["value"]) for option in listed}

    def set_option(self, key: str, value: object) -> None:
        """Write one option; what is not text is written as JSON text."""
        self.put("/api/option/", {"key": key, "value": value if isinstance(value, str) else json.dumps(value)})

    def logs(self, **query: str | int) -> list[Data]:
        """The newest hundred rows that match; for an administrator those of everybody."""
        page = as_object(self.get("/api/log/", **{"p": 1, "page_size": 100, **query}))
        return cast(list[Data], page["items"])

    def own_logs(self, **query: str | int) -> list[Data]:
        page = as_object(self.get("/api/log/self", **{"p": 1, "page_size": 100, **query}))
        return cast(list[Data], page["items"])

    def _data(self, method: str, path: str, response: httpx.Response) -> object:
        try:
            envelope = as_object(response.json())
        except (ValueError, AssertionError):
            raise ApiRefused(method, path, response.status_code, response.text[:300]) from None
        if not response.is_success or envelope.get("success") is not True:
            raise ApiRefused(method, path, response.status_code, str(envelope)[:600])
        return envelope.get("data")


def as_object(value: object) -> Data:
    assert isinstance(value, dict), f"expected an object, got {value!r}"
    return cast(Data, value)


def as_int(value: object) -> int:
    assert type(value) is int, f"expected an integer, got {value!r}"
    return value


def as_text(value: object) -> str:
    assert isinstance(value, str), f"expected text, got {value!r}"
    return value
