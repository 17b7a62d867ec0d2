"""A running gateway with its root account, and customers of it: what a story needs in one line each.

What is written through here is in force when the call returns: every method that changes keys, channels or options waits
until the relay's directory has followed.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.harness.admin import ApiRefused, Session, as_int, as_object, as_text
from tests.harness.process import Process
from tests.harness.waiting import eventually

PASSWORD = "correct horse 9"
FOLLOWS_WITHIN_S = 5.0
KNOWN_WITHIN_S = 15.0
NUMBERS = itertools.count(1)
PRICE_OPTIONS = {
    "ratio": "ModelRatio",
    "completion": "CompletionRatio",
    "cache": "CacheRatio",
    "per_call": "ModelPrice",
}


@dataclass
class Customer:
    """A user with one API key, as the client program sees the house."""

    session: Session
    key_id: int
    key: str
    opening_mills: int
    http: httpx.Client
    base_url: str
    closed: bool = field(default=False, compare=False)

    @property
    def user_id(self) -> int:
        return self.session.id

    def post(self, path: str, body: Mapping[str, object], **headers: str) -> httpx.Response:
        """One call, its answer read whole. Header names are given with underscores."""
        return self.http.post(path, json=body, headers=_dashed(headers))

    def chat(self, model: str, text: str = "Count the coins.", **fields: object) -> httpx.Response:
        return self.post("/v1/chat/completions", chat_body(model, text, **fields))

    @contextmanager
    def streaming(self, model: str, text: str = "Count the coins.", **fields: object) -> Generator[httpx.Response]:
        """A streamed chat whose body is read by the caller; leaving early closes the connection."""
        body = chat_body(model, text, stream=True, **fields)
        with (
            httpx.Client(base_url=self.base_url, headers=self.http.headers, timeout=30.0) as own,
            own.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            yield response

    def available_mills(self) -> int:
        return self.session.balance().available_mills

    def spent_mills(self) -> int:
        """What has left the available balance since the account was opened: charges and what is held now."""
        return self.opening_mills - self.available_mills()

    def spends(self, mills: int, within_s: float = 5.0) -> bool:
        """True once exactly so much is gone; fails with the last figure when that does not come."""
        return eventually(self.spent_mills, lambda spent: spent == mills, within_s=within_s) == mills

    def close(self) -> None:
        self.http.close()
        self.session.close()


class Gateway:
    """`with Gateway(folder) as gateway:` initialises, serves and logs the root account in."""

    def __init__(self, data_dir: Path, env: Mapping[str, str] | None = None) -> None:
        self.process = Process(data_dir, env)
        self._prices: dict[str, dict[str, object]] = {}
        self._customers: list[Customer] = []
        self._root: Session | None = None

    def __enter__(self) -> Self:
        made = json.loads(self.process.run("init", "--json").stdout)
        self.root_name, self.root_password = as_text(made["root"]["username"]), as_text(made["root"]["password"])
        self.root_key, self.sandbox_model = as_text(made["api_key"]), as_text(made["model"])
        try:
            self.process.start()
            self.login()
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for customer in self._customers:
            customer.close()
        self.root.close()
        if self.process.is_running():
            self.process.stop()
        self.process.kill()

    @property
    def root(self) -> Session:
        """The root account, logged in."""
        assert self._root is not None, "the gateway is entered first"
        return self._root

    @property
    def url(self) -> str:
        return self.process.url

    def login(self) -> None:
        """Log the root account in; again after a restart."""
        if self._root is not None:
            self._root.close()
        self._root = logged_in(self.url, self.root_name, self.root_password)

    def name(self, stem: str = "m") -> str:
        """A name that nothing has yet, on this gateway or another of this test run: one upstream serves them all."""
        return f"{stem}-{next(NUMBERS)}"

    def priced(self, model: str | None = None, **prices: float) -> str:
        """Set a model's prices and give its name: `ratio`, `completion`, `cache`, or `per_call` in USD."""
        named = model or self.name()
        for what, value in prices.items():
            option = PRICE_OPTIONS[what]
            table = self._prices.setdefault(option, json.loads(self.root.options().get(option, "{}")))
            table[named] = value
            self.root.set_option(option, table)
        return named

    def offer(self, base_url: str, *, ratio: float = 1, completion: float = 1, **channel: object) -> str:
        """A new model with these prices on a new channel at this base URL; its name."""
        model = self.priced(ratio=ratio, completion=completion)
        self.root.make_channel(base_url, model, **channel)
        self.wait_directory()
        return model

    def customer(
        self, quota: int = 1_000_000, group: str = "default", key: Mapping[str, object] | None = None
    ) -> Customer:
        """A new user with so much quota and one key (unlimited, or with these fields), known to the relay already."""
        username = self.name("u")
        self.root.make_user(username, PASSWORD)
        session = logged_in(self.url, username, PASSWORD)
        opened = session.balance().quota
        self.root.edit_user(session.id, group=group, quota_delta=quota - opened)
        made = session.make_key(**(key or {}))
        customer = self._customer(session, as_int(made["id"]), as_text(made["key"]))
        self.wait_known(customer.key)
        return customer

    def wait_known(self, key: str) -> None:
        """Return once the relay knows this key, and with it everything written before it."""
        bearer = {"Authorization": f"Bearer {_prefixed(key)}"}
        with httpx.Client(base_url=self.url, headers=bearer, timeout=10.0) as http:
            eventually(
                lambda: http.get("/v1/models").status_code, lambda status: status != 401, within_s=FOLLOWS_WITHIN_S
            )

    def wait_directory(self) -> None:
        """Return once the relay knows everything written so far: a key made last is known last."""
        made = self.root.make_key(name="probe")
        self.wait_known(as_text(made["key"]))
        self.root.delete(f"/api/token/{as_int(made['id'])}")

    def statement(self, user_id: int) -> list[dict[str, object]]:
        """What moved on a user's available balance, oldest first, as `veloera ledger statement` tells it."""
        return self.process.ledger("statement", f"user:{user_id}:available")

    def explain(self, request_id: str) -> dict[str, object]:
        """What `veloera ledger explain` says about one call."""
        (line,) = self.process.ledger("explain", request_id)
        return as_object(line)

    def is_proven(self) -> bool:
        """True when `veloera ledger verify` finds every balance equal to its events."""
        return self.process.run("ledger", "verify", "--json", check=False).returncode == 0

    def _customer(self, session: Session, key_id: int, key: str) -> Customer:
        bearer = {"Authorization": f"Bearer {_prefixed(key)}"}
        http = httpx.Client(base_url=self.url, headers=bearer, timeout=30.0)
        opening = session.balance().available_mills
        customer = Customer(session, key_id, _prefixed(key), opening, http, self.url)
        self._customers.append(customer)
        return customer


def chat_body(model: str, text: str = "Count the coins.", **fields: object) -> dict[str, object]:
    """The body of a chat completion with one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def logged_in(url: str, username: str, password: str) -> Session:
    """A session of somebody who was made a moment ago: the lists that know him may still be behind, and say so.

    Raises:
        ApiRefused: still refused at the end of the time.
    """
    deadline = time.monotonic() + KNOWN_WITHIN_S
    while True:
        try:
            return Session(url, username, password)
        except ApiRefused as refused:
            if refused.status not in {401, 503} or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _prefixed(key: str) -> str:
    return key if key.startswith("sk-") else f"sk-{key}"


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
