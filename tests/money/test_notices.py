"""Ten copies of every payment notice, to two gateways on one ledger that are killed meanwhile: credited once, and `success` only then.

The gateway of the provider is played here: it comes again until it hears `success`, as the real one does.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path

import httpx
import pytest

from api.payments.epay import signature
from domain import accounts, streams
from domain.events import TopUpSettled
from ledger.place import open_store
from ledger.store import LedgerStore
from ledger.verify import verify
from tests.harness.admin import Session, as_object, as_text
from tests.harness.gateway import PASSWORD, logged_in
from tests.harness.postgres import shared_server
from tests.harness.process import Process
from tests.harness.waiting import eventually

KEY = "merchant key"
COPIES = 10
ORDERS = 4
PATIENCE_S = 60.0
NUMBERS = count(1)
OPTIONS = {"PayAddress": "https://pay.example.com", "EpayId": "1001", "EpayKey": KEY}


class Site:
    """Two nodes on one ledger: in one folder, or on one server."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder, self.dsn = folder, dsn
        env = {"SQL_DSN": dsn, "CRYPTO_SECRET": "a secret of the tests"} if dsn else {}
        folders = (folder / "one", folder / "two") if dsn else (folder, folder)
        folder.mkdir()
        self.nodes = tuple(Process(place, env) for place in folders)
        self.root: Session | None = None

    def start(self) -> Session:
        """Its root account, logged in at the first node."""
        made = json.loads(self.nodes[0].run("init", "--json").stdout)
        for node in self.nodes:
            node.start()
        self.root = logged_in(self.nodes[0].url, as_text(made["root"]["username"]), as_text(made["root"]["password"]))
        return self.root

    def close(self) -> None:
        if self.root is not None:
            self.root.close()
        for node in self.nodes:
            node.kill()

    def store(self) -> LedgerStore:
        return open_store(self.folder, self.dsn)


@pytest.fixture(params=["in_file", "on_server"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        dsn = ""
        if request.param == "on_server":
            server = shared_server()
            name = server.database()
            stack.callback(server.drop, name)
            dsn = f"postgresql://postgres@/{name}?host={server.folder}"
        running = Site(tmp_path / "data", dsn)
        stack.callback(running.close)
        yield running


class Provider:
    """Sends one notice until it is taken, to either node in turn. What it heard and what the ledger said then is kept."""

    def __init__(self, site: Site, store: LedgerStore, notice: Mapping[str, str], first: int) -> None:
        self._site = site
        self._store = store
        self._notice = notice
        self._turn = first
        self.times = 0
        self.was_credited_at_success = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        payment = streams.payment("epay", self._notice["out_trade_no"])
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            node = self._site.nodes[self._turn % len(self._site.nodes)]
            self._turn += 1
            self.times += 1
            with suppress(httpx.TransportError):
                answer = httpx.get(f"{node.url}/api/user/epay/notify", params=dict(self._notice), timeout=10.0)
                if answer.text == "success":
                    facts = [one.fact for one in self._store.read_stream(payment)]
                    self.was_credited_at_success = any(isinstance(fact, TopUpSettled) for fact in facts)
                    return
            time.sleep(0.02)  # the provider's own pace; nothing is waited for


def test_a_notice_that_comes_ten_times_to_two_nodes_that_are_killed_is_credited_once(site: Site) -> None:
    root = site.start()
    for name, value in OPTIONS.items():
        root.set_option(name, value)
    username = f"payer{next(NUMBERS)}"
    root.make_user(username, PASSWORD)
    customer = logged_in(site.nodes[0].url, username, PASSWORD)
    forms = eventually(lambda: ordered(site, customer.id, username), lambda found: len(found) == ORDERS, within_s=20)
    with closing(site.store()) as store:
        providers = [Provider(site, store, notice_of(form), n) for form in forms for n in range(COPIES)]

        for number, node in enumerate(site.nodes):
            for provider in providers[number :: len(site.nodes)]:
                provider.thread.start()
            node.kill()
            node.start()
        for provider in providers:
            provider.thread.join(PATIENCE_S)

        assert any(provider.times > 1 for provider in providers)
        assert [provider.was_credited_at_success for provider in providers] == [True] * len(providers)
        settled = [
            [one.fact for one in store.read_stream(streams.payment("epay", as_text(form["out_trade_no"])))][1:]
            for form in forms
        ]
        assert [[type(fact) for fact in facts] for facts in settled] == [[TopUpSettled]] * ORDERS
        guard = store.balance(accounts.available(customer.id))
        assert guard is not None
        assert guard.balance == ORDERS * 500_000_000
        assert verify(store).is_sound
    customer.close()


def ordered(site: Site, user_id: int, username: str) -> list[dict[str, object]]:
    """The forms of some orders, once the node knows that it takes payments."""
    with closing(logged_in(site.nodes[0].url, username, PASSWORD)) as customer:
        assert customer.id == user_id
        answers = [
            customer.raw("POST", "/api/user/pay", json={"amount": 1, "payment_method": "zfb"}) for _ in range(ORDERS)
        ]
        return [as_object(answer.json()["data"]) for answer in answers if answer.status_code == 200]


def notice_of(form: Mapping[str, object]) -> dict[str, str]:
    named = ("pid", "out_trade_no", "type", "name", "money")
    fields = {name: as_text(form[name]) for name in named}
    fields |= {"trade_no": f"P{as_text(form['out_trade_no'])}", "trade_status": "TRADE_SUCCESS"}
    return {**fields, "sign": signature(fields, KEY), "sign_type": "MD5"}
