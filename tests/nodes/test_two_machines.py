"""Two machines on one PostgreSQL and one Redis, which is there or is not: whoever is asked, it is one house.

They are started once for all stories, and none of these stops them.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import httpx
import pytest

from tests.conftest import TOLD
from tests.harness import wire
from tests.harness.admin import Data, as_int, as_object
from tests.harness.gateway import PASSWORD, Customer
from tests.harness.postgres import shared_server
from tests.harness.redis import RedisServer
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.nodes.machines import House, Machine, asked, calls_of, is_ready, paused

Tell = Callable[[str, object], None]
FRESH_S = 1.0
"""Design D7: what was committed on one machine is in force on the others."""
LOGGED_OUT_S = 5.0
RED_S = 6.0
"""A follower that is stuck for longer than 5 s, noticed."""
GREEN_S = 3.0
LOOK_S = 0.005
ROUNDS = 4
USAGE = wire.tokens(10, 50)
PRICE_MILLS = 60_000


class Pair(NamedTuple):
    """The two machines and what they share."""

    house: House
    redis: RedisServer
    a: Machine
    b: Machine

    def settle(self) -> None:
        """Return once both know of each other through Redis."""
        up = {"redis": "up", "processes": 2}
        eventually(self.standings, lambda found: found == [up, up], within_s=15)

    def standings(self) -> list[Data]:
        """What each says of what it shares."""
        readiness = [json.loads(asked(machine, "/readyz")[1]) for machine in (self.a, self.b)]
        return [as_object(said["shared"]) for said in readiness]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("machines")
    server = shared_server()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        terms = {"REDIS_CONN_STRING": redis.url, "REDIS_TIMEOUT_MS": "1000", "REDIS_RETRY_MS": "50"}
        house = House(server, server.database(), terms)
        a = stack.enter_context(Machine(folder, "a", house))
        b = stack.enter_context(Machine(folder, "b", house, first=a))
        yield Pair(house, redis, a, b)


@pytest.fixture(params=["redis", "no redis"])
def machines(pair: Pair, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both, with Redis, or with one that was lost."""
    if request.param == "redis":
        pair.settle()
        yield pair
        return
    pair.redis.kill()
    eventually(pair.standings, lambda found: [one["redis"] for one in found] == ["away"] * 2)
    yield pair
    pair.redis.start()


def statuses(customer: Customer, model: str, calls: int) -> list[int]:
    return [customer.chat(model, max_tokens=1).status_code for _ in range(calls)]


class Change(NamedTuple):
    """Something that is done on one machine, and how a client of the other one sees it."""

    what: str
    done: Callable[[], object]
    shows: Callable[[httpx.Client], bool]

    def seconds(self, http: httpx.Client) -> float:
        """From when it was asked for to when it showed to a client of the other machine, which asks from before then."""
        with ThreadPoolExecutor(1) as elsewhere:
            began = time.monotonic()
            doing = elsewhere.submit(self.done)
            while not self.shows(http):
                assert time.monotonic() - began < 10 * FRESH_S, f"{self.what}: not in force at all"
                time.sleep(LOOK_S)
            took_s = time.monotonic() - began
            doing.result()
        return took_s


def models_of(http: httpx.Client, key: str) -> list[str] | None:
    """What a key may call; None when it is not let in."""
    answer = http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    return [str(one["id"]) for one in answer.json()["data"]] if answer.status_code == 200 else None


def price_of(http: httpx.Client, model: str) -> object:
    listed = http.get("/api/pricing").json()["data"]
    return next((one["model_ratio"] for one in listed if one["model_name"] == model), None)


def changes(at: Machine, upstream: Upstream, ratio: int) -> list[Change]:
    """Five changes on one machine, of five kinds, each after the one before it."""
    customer, model = at.customer(), at.priced(ratio=1, completion=1)
    made: list[Data] = []

    def may_call(http: httpx.Client) -> bool:
        return model in (models_of(http, customer.key) or ())

    def new_key_is_known(http: httpx.Client) -> bool:
        return bool(made) and models_of(http, str(made[0]["key"])) is not None

    return [
        Change("channel", lambda: at.root.make_channel(upstream.url(), model), may_call),
        Change("price", lambda: at.priced(model, ratio=ratio), lambda http: price_of(http, model) == ratio),
        Change("group", lambda: at.root.edit_user(customer.user_id, group="vip"), lambda http: not may_call(http)),
        Change("key", lambda: made.append(customer.session.make_key()), new_key_is_known),
        Change(
            "key switched off",
            lambda: customer.session.put("/api/token/", {"id": customer.key_id, "status": 2}, status_only="true"),
            lambda http: models_of(http, customer.key) is None,
        ),
    ]


def test_what_is_changed_on_one_machine_is_in_force_on_the_other_within_the_bound(
    machines: Pair, upstream: Upstream, record_property: Tell, request: pytest.FixtureRequest
) -> None:
    took_s: dict[str, list[float]] = {}

    with httpx.Client(base_url=machines.a.url) as at_a, httpx.Client(base_url=machines.b.url) as at_b:
        for turn in range(ROUNDS):
            here, there = (machines.a, at_b) if turn % 2 else (machines.b, at_a)
            for change in changes(here, upstream, ratio=turn + 2):
                took_s.setdefault(change.what, []).append(change.seconds(there))

    slowest = {what: round(max(found) * 1000) for what, found in took_s.items()}
    name = request.node.callspec.params["machines"]
    record_property(TOLD, f"two machines, {name}: {5 * ROUNDS} changes, the slowest of each kind in ms: {slowest}")
    assert sum(len(found) for found in took_s.values()) == 5 * ROUNDS
    assert max(max(found) for found in took_s.values()) <= FRESH_S


async def test_calls_on_both_at_once_spend_no_more_than_there_is_and_each_is_charged_once(
    machines: Pair, upstream: Upstream
) -> None:
    a, b = machines.a, machines.b
    model = a.priced(per_call=0.0001)
    a.root.make_channel(upstream.url(), model)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = a.customer(quota=40 * 50)
    elsewhere = b.also(customer)
    eventually(lambda: model in (models_of(elsewhere.http, customer.key) or ()), bool)
    eventually(lambda: model in (models_of(customer.http, customer.key) or ()), bool)

    done = await calls_of([customer, elsewhere], model, 120)

    assert sorted({call.status for call in done}) == [200, 403]
    assert sum(call.status == 200 for call in done) == 40
    assert len(upstream.calls(model=model)) == 40
    assert customer.available_mills() == 0
    charged = [row["request_id"] for row in b.root.logs(username=customer.session.username, type=2)]
    assert sorted(map(str, charged)) == sorted(call.request_id for call in done if call.status == 200)
    lines = b.process.ledger("statement", f"user:{customer.user_id}:available", "-n", "1000")
    assert min(as_int(line["balance_mills"]) for line in lines) == 0
    assert b.is_proven()


def test_a_session_of_one_machine_is_one_on_the_other_and_ends_there_within_the_bound(
    machines: Pair, record_property: Tell
) -> None:
    a, b = machines.a, machines.b
    customer = a.customer()
    with httpx.Client(timeout=10) as http:  # a cookie is of an address, whatever the port
        login = {"username": customer.session.username, "password": PASSWORD}
        assert http.post(f"{a.url}/api/user/login", json=login).status_code == 200
        http.headers["Veloera-User"] = str(customer.user_id)
        status = http.get(f"{b.url}/api/user/self").status_code
        cookie = http.cookies["session"]

        assert http.get(f"{a.url}/api/user/logout").status_code == 200
        began = time.monotonic()
        http.cookies.set("session", cookie, domain="127.0.0.1")
        here = http.get(f"{a.url}/api/user/self").status_code
        eventually(
            lambda: http.get(f"{b.url}/api/user/self").status_code, lambda code: code == 401, within_s=LOGGED_OUT_S
        )

    record_property(TOLD, f"two machines: logged out on the other after {time.monotonic() - began:.1f} s")
    assert (status, here) == (200, 401)


@pytest.fixture
def limit(pair: Pair) -> Iterator[int]:
    """So many calls for each user, in a window that does not end during a story; no limit after it."""
    options = {"ModelRequestRateLimitSuccessCount": "8", "ModelRequestRateLimitDurationMinutes": "10"}
    for name, value in {**options, "ModelRequestRateLimitEnabled": "true"}.items():
        pair.a.root.set_option(name, value)
    yield 8
    pair.a.root.set_option("ModelRequestRateLimitEnabled", "false")


def test_a_rate_limit_is_one_for_both_machines_with_redis_and_falls_to_shares_without(pair: Pair, limit: int) -> None:
    a, b, model = pair.a, pair.b, pair.a.sandbox_model
    pair.settle()
    first, second = a.customer(), a.customer()
    first_there, second_there = b.also(first), b.also(second)
    granted: list[int] = []

    def all_places() -> int:
        # A machine that is asked twice leases places, and gives back within 1.25 s what it did not use.
        granted.extend(
            status for status in statuses(first, model, 1) + statuses(first_there, model, 1) if status == 200
        )
        return len(granted)

    eventually(all_places, lambda count: count >= limit, every_s=0.2)
    refused = statuses(first, model, 2) + statuses(first_there, model, 2)
    pair.redis.kill()
    shares = [statuses(customer, model, limit).count(200) for customer in (second, second_there)]
    pair.redis.start()

    assert len(granted) == limit
    assert refused == [429] * 4
    assert shares == [limit // 2] * 2


def test_one_machine_folds_the_lists_and_both_show_them_and_when_its_projector_dies_the_other_folds_on(
    pair: Pair, upstream: Upstream, record_property: Tell
) -> None:
    a, b = pair.a, pair.b
    model = a.offer(upstream.url())
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = a.customer()
    first = customer.chat(model, max_tokens=50).headers["x-request-id"]
    folding = pair.house.folding()

    os.kill(a.children("projector")[0], signal.SIGKILL)
    began = time.monotonic()
    second = b.also(customer).chat(model, max_tokens=50).headers["x-request-id"]
    shown = eventually(lambda: [one.root.logs(request_id=second) for one in (a, b)], all, within_s=10)

    record_property(TOLD, f"two machines: folded on {time.monotonic() - began:.1f} s after the projector was killed")
    assert folding
    assert [rows[0]["request_id"] for rows in shown] == [second, second]
    assert [row["request_id"] for row in b.root.logs(username=customer.session.username, type=2)] == [second, first]
    assert a.root.logs(username=customer.session.username) == b.root.logs(username=customer.session.username)
    eventually(pair.house.folding, lambda session: session not in (0, folding))


def test_a_call_of_one_machine_is_explained_by_the_other_with_its_balance_as_it_was(
    pair: Pair, upstream: Upstream
) -> None:
    a, b = pair.a, pair.b
    model = a.offer(upstream.url())
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = a.customer(quota=1_000)
    account = f"user:{customer.user_id}:available"

    request_id = customer.chat(model, max_tokens=50).headers["x-request-id"]
    explained = as_object(b.root.get(f"/api/ledger/explain/{request_id}"))
    story = as_object(b.root.get(f"/api/ledger/accounts/{account}/explain"))
    facts = explained["facts"]
    assert isinstance(facts, list)
    before = as_int(facts[0]["position"]) - 1
    was = as_object(b.root.get(f"/api/ledger/accounts/{account}/as-of", position=before))
    checked = as_object(b.root.get(f"/api/ledger/accounts/{account}/check"))
    (told,) = b.process.ledger("balance", account, "--from-log")

    left = 1_000_000 - PRICE_MILLS
    assert (explained["state"], explained["paid_mills"]) == ("settled", str(PRICE_MILLS))
    assert facts[0]["fact"]["node"] == "a"
    assert (was["balance_mills"], as_object(story["closing"])["balance_mills"]) == ("1000000", str(left))
    assert (checked["checked"], checked["agrees"]) == (True, True)
    assert told["balance_mills"] == left
    here, there = (one.explain(request_id) for one in (a, b))
    assert {**here, "block": None} == {**there, "block": None}  # it may be sealed in between


def test_a_balance_that_was_changed_behind_the_ledger_is_found_by_whichever_machine_is_asked(pair: Pair) -> None:
    customer = pair.a.customer(quota=1_000)
    account = f"user:{customer.user_id}:available"
    tampered = f"UPDATE veloera.balances SET balance = balance {{}} 7 WHERE account = '{account}'"

    pair.house.ask(tampered.format("+"))
    found = [as_object(one.root.get(f"/api/ledger/accounts/{account}/check")) for one in (pair.a, pair.b)]
    pair.house.ask(tampered.format("-"))
    mended = as_object(pair.b.root.get(f"/api/ledger/accounts/{account}/check"))

    assert [(one["checked"], one["agrees"]) for one in found] == [(True, False)] * 2
    difference = as_object(found[1]["disagreement"])
    ways = [difference[name] for name in ("summed_mills", "running_mills", "kept_mills")]
    assert ways == ["1000000", "1000000", "1000007"]
    assert mended["agrees"]


def test_a_database_that_hangs_turns_both_red_and_calls_away_and_both_recover_by_themselves(
    pair: Pair, upstream: Upstream, record_property: Tell
) -> None:
    a, b = pair.a, pair.b
    model = a.offer(upstream.url())
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = a.customer()
    elsewhere = b.also(customer)

    with paused(pair.house.server):
        began = time.monotonic()
        eventually(lambda: is_ready(a) or is_ready(b), lambda ready: not ready, within_s=RED_S, every_s=0.05)
        red_s = time.monotonic() - began
        refused = [one.chat(model) for one in (customer, elsewhere)]
        metrics = asked(a, "/metrics", timeout_s=2)[0]
        refused_s = time.monotonic() - began - red_s
    began = time.monotonic()
    eventually(lambda: is_ready(a) and is_ready(b), bool, within_s=GREEN_S, every_s=0.05)
    green_s = time.monotonic() - began
    after = [one.chat(model, max_tokens=50).status_code for one in (customer, elsewhere)]

    record_property(TOLD, f"a database that hangs: red after {red_s:.1f} s, green {green_s:.1f} s after it is back")
    assert [answer.status_code for answer in refused] == [503, 503]
    assert {answer.headers["x-request-id"] for answer in refused} != set()
    assert metrics == 200
    assert refused_s < 2
    assert after == [200, 200]
    assert customer.spends(2 * PRICE_MILLS)
