"""A site in a folder, and the people who use its JSON API: every part real, only the server left out.

A person keeps their cookie and sends the header that names them; what comes back is the answer as it is.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from time import time
from typing import Any, Self, cast
from uuid import uuid4

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.testclient import TestClient

from api import bootstrap
from api.admin.router import build_router
from api.compose import Books, open_books
from api.settings import Environment
from domain import commands, user
from domain.pricing import Price
from domain.units import mills, ratio_text
from domain.usage import Usage
from projections.directory import Directory
from relay.shared import Shared

ROOT_PASSWORD = "root of all 1"
PASSWORD = "correct horse 9"
MODEL = "gpt-4o"

Json = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """The services that the JSON API asks for."""

    environment: Environment
    books: Books
    directory: Directory
    started_at_s: float
    shared: Shared = field(default_factory=Shared)


@dataclass(frozen=True)
class Answer:
    """An answer of the API: its status, its envelope, its headers."""

    status: int
    body: Json
    headers: dict[str, str]

    @property
    def data(self) -> Any:
        assert self.status == 200, self.body
        assert self.body["success"] is True
        return self.body["data"]

    @property
    def message(self) -> str:
        assert isinstance(self.body["message"], str)
        return self.body["message"]


class Person:
    """Somebody who talks to the API; a guest until they log in."""

    def __init__(self, app: FastAPI) -> None:
        self._http = TestClient(app, raise_server_exceptions=True)
        self.headers: dict[str, str] = {}
        self.id = 0
        self.username = ""
        self.key = ""

    def log_in(self, username: str, password: str) -> Self:
        me = self.post("/api/user/login", {"username": username, "password": password}).data
        self.id, self.username = me["id"], username
        self.headers["Veloera-User"] = str(self.id)
        return self

    def get(self, path: str, **query: object) -> Answer:
        return self.send("GET", path, query=query)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        return self.send("POST", path, body, headers=headers)

    def put(self, path: str, body: object, **headers: str) -> Answer:
        return self.send("PUT", path, body, headers=headers)

    def delete(self, path: str) -> Answer:
        return self.send("DELETE", path)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Json | None = None,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """One request; header names are given with underscores."""
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in (headers or {}).items()}}
        content: Json = {"content": raw} if raw is not None else {"json": body} if body is not None else {}
        response = self._http.request(
            method, path, params=query or None, headers=sent, follow_redirects=False, **content
        )
        return Answer(response.status_code, response.json(), {k.lower(): v for k, v in response.headers.items()})

    @property
    def cookie(self) -> str:
        return self._http.cookies.get("session") or ""

    @cookie.setter
    def cookie(self, value: str) -> None:
        self._http.cookies.clear()
        self._http.cookies.set("session", value)

    def me(self) -> Json:
        return cast(Json, self.get("/api/user/self").data)


@cache
def routes() -> list[BaseRoute]:
    """The routes of all sites: building them takes a while."""
    app = FastAPI(openapi_url="/api/openapi.json", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.include_router(build_router())
    return app.router.routes


class House:
    """One site. Its root account exists; everything else a test makes."""

    def __init__(self, folder: Path, shared: Shared | None = None) -> None:
        environment = Environment(data_dir=folder, ledger_durability="process")
        self.books = open_books(environment)
        self.books.directory.start()
        self.app = FastAPI(redirect_slashes=False)
        self.app.router.routes[:] = routes()
        self.app.state.services = Parts(environment, self.books, self.books.directory, time(), shared or Shared())
        self._names = itertools.count(1)

    def with_root(self) -> Self:
        bootstrap.register_root(self.books, username="root", password=ROOT_PASSWORD, display_name="Root User")
        self.settle_down()
        self.root = self.enter("root", ROOT_PASSWORD)
        return self

    def close(self) -> None:
        self.books.close()

    def settle_down(self) -> None:
        """Return once the directory knows all that was committed."""
        assert self.books.directory.wait_for(self.books.store.head())

    def guest(self) -> Person:
        return Person(self.app)

    def enter(self, username: str, password: str = PASSWORD) -> Person:
        return self.guest().log_in(username, password)

    def name(self, stem: str) -> str:
        return f"{stem}{next(self._names)}"

    def user(self, quota: int = 0, role: int = 1, group: str = "default") -> Person:
        """A new user who is logged in, with so much quota."""
        username = self.name("user")
        made = self.root.post("/api/user/", {"username": username, "password": PASSWORD, "role": role}).data
        if quota or group != "default":
            self.root.put("/api/user/", {"id": made["id"], "quota_delta": quota, "group": group})
        return self.enter(username)

    def migrated(self, username: str, stored: str, email: str = "") -> int:
        """A user as a migration leaves one, with the hash of a password from elsewhere; the id."""
        vault = self.books.vault
        profile = vault.put(json.dumps({"username": username, "display_name": "", "email": email}))
        claim = vault.digest("username", username)
        command = user.creation(claim=claim, profile=profile, password=vault.put(stored))
        made = self.books.writer.submit_blocking(command)
        assert made.status == "created"
        self.settle_down()
        return made.id

    def admin(self) -> Person:
        return self.user(role=10)

    def channel(self, **fields: object) -> Json:
        """A new channel that serves `gpt-4o` to the group default."""
        body: Json = {"type": 1, "name": self.name("channel"), "key": "sk-upstream-secret", "models": MODEL}
        return cast(Json, self.root.post("/api/channel/", {**body, "group": "default", **fields}).data)

    def option(self, key: str, value: str) -> None:
        assert self.root.put("/api/option/", {"key": key, "value": value}).status == 200

    def spend(self, user_id: int, key_id: int, cost_mills: int, *, capped: bool = False, channel: int = 0) -> str:
        """A call that cost so much, as the relay records it; its request id."""
        price = price_of(cost_mills)
        charge = self.hold(user_id, key_id, cost_mills, capped=capped, price=price)
        result = self.books.writer.submit_blocking(
            commands.Settle(
                charge=charge,
                user=user_id,
                key=key_id,
                capped=capped,
                model=MODEL,
                group="default",
                price=price,
                usage=USAGE,
                cost=cost_mills,
                ended_by="complete",
                channel=channel,
                attempts=(channel,) if channel else (),
                upstream_request_id="upstream-secret-id",
            )
        )
        assert result.status == "created"
        return charge

    def hold(
        self, user_id: int, key_id: int, amount_mills: int, *, capped: bool = False, price: Price | None = None
    ) -> str:
        charge = uuid4().hex
        result = self.books.writer.submit_blocking(
            commands.Hold(
                charge=charge,
                user=user_id,
                key=key_id,
                capped=capped,
                model=MODEL,
                group="default",
                prices=(price or PRICE,),
                amount=amount_mills,
                node="node-secret",
                epoch="epoch-secret",
                ttl_ms=60_000,
            )
        )
        assert result.status == "created", result
        return charge

    def available_mills(self, user_id: int) -> int:
        guard = self.books.store.balance(f"user:{user_id}:available")
        return guard.balance if guard else 0

    def head(self) -> int:
        return self.books.store.head()


PRICE = Price(MODEL, "default", 0, model_ratio="1.25", completion_ratio="4")
USAGE = Usage(input=7, output=5)


def price_of(cost_mills: int) -> Price:
    """The price at which the usage of a test's call costs exactly so much: 7 input and 5 output tokens at 4 are 27."""
    return Price(MODEL, "default", 0, model_ratio=ratio_text(Fraction(cost_mills, 27_000)), completion_ratio="4")


OPENING_MILLS = mills(bootstrap.OPENING_QUOTA)
