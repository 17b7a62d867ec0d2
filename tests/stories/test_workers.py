"""Several processes carry calls behind one port and over one ledger; any of them may die, and nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from domain import commands
from domain.events import ChargeExpired
from domain.pricing import Price
from ledger.sqlite import SqliteStore
from tests.conftest import TOLD
from tests.harness import wire
from tests.harness.admin import Data, as_int, as_object
from tests.harness.behaviours import Gate
from tests.harness.gateway import Customer, Gateway
from tests.harness.mortal import is_there
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.nodes.machines import calls_of, children_named

Tell = Callable[[str, object], None]
WORKERS = 2
CALLS = 60
USAGE = wire.tokens(10, 50)
PRICE_MILLS = 60_000
FRESH_S = 0.25
"""Design D7: what one process of a machine committed is in force in the others."""
CHANGES = 20
LOOK_S = 0.005
RESTARTED_S = 20.0
TAKES_OVER_S = 5.0
"""The lead is tried for every two seconds, and holds are looked through as often."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("workers") / "data", {"WORKERS": str(WORKERS)}) as running:
        yield running


@pytest.fixture
def gateway(started: Gateway) -> Gateway:
    """One gateway for all stories, serving with all its workers, whatever the story before did to it."""
    if not started.process.is_running():
        started.process.start()
        started.login()
    eventually(lambda: workers_of(started), lambda found: len(found) == WORKERS, within_s=RESTARTED_S)
    return started


def workers_of(gateway: Gateway) -> list[int]:
    """The pids of its workers, as the kernel knows them."""
    return children_named(gateway.process.pid, "worker")


@contextmanager
def reached(gateway: Gateway, worker: int) -> Generator[httpx.Client]:
    """A client whose one connection is with this worker: the others were stopped while it was made."""
    others = [pid for pid in workers_of(gateway) if pid != worker]
    with httpx.Client(base_url=gateway.url, timeout=10, limits=httpx.Limits(max_connections=1)) as http:
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert http.get("/healthz").status_code == 200
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)
        yield http


@pytest.fixture
def each(gateway: Gateway) -> Iterator[list[httpx.Client]]:
    """A client for each worker."""
    with ExitStack() as stack:
        yield [stack.enter_context(reached(gateway, pid)) for pid in workers_of(gateway)]


def served_by(http: httpx.Client) -> dict[str, int]:
    """Calls that were answered, by worker, as whoever is asked says it."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    (calls,) = [family for family in families if family.name == "veloera_calls"]
    counts: dict[str, int] = {}
    for sample in calls.samples:
        if sample.labels["status"] == "200":
            counts[sample.labels["worker"]] = counts.get(sample.labels["worker"], 0) + int(sample.value)
    return counts


def known(each: Sequence[httpx.Client], customer: Customer, *models: str) -> Customer:
    """The customer, once every worker has heard of it and may call these models for it."""
    eventually(
        lambda: [set(models_of(http, customer.key) or ()) for http in each],
        lambda found: all(set(models) <= known_there for known_there in found),
    )
    return customer


def models_of(http: httpx.Client, key: str) -> list[str] | None:
    """What a key may call; None when it is not let in."""
    answer = http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    return [str(one["id"]) for one in answer.json()["data"]] if answer.status_code == 200 else None


def leader_of(gateway: Gateway) -> int:
    """The pid of the process that has the lead in the jobs, 0 for none, as the kernel knows its lock."""
    inode = f":{(gateway.process.data_dir / 'leader.lock').stat().st_ino}"
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return next((int(words[4]) for words in locks if words[1] == "FLOCK" and words[5].endswith(inode)), 0)


def held_for_nobody(gateway: Gateway, customer: Customer) -> str:
    """Hold something as a process that is no more; its charge."""
    store = SqliteStore(gateway.process.data_dir)
    hold = commands.Hold(
        charge=uuid4().hex, user=customer.user_id, key=customer.key_id, model="m", group="default",
        prices=(Price("m", "default", 1, model_ratio="1"),), amount=PRICE_MILLS, node="gone", epoch="gone", ttl_ms=3_600_000,
    )  # fmt: skip
    (result,) = store.commit([hold])
    store.close()
    assert result.status == "created"
    return hold.charge


def ends_by_death(gateway: Gateway, charge: str) -> bool:
    """Whether a hold was ended because its process is no more. Its gateway may do so at any moment after it was made."""
    store = SqliteStore(gateway.process.data_dir)
    facts = [recorded.fact for recorded in store.read_stream(charge)]
    store.close()
    return len(facts) == 2 and isinstance(facts[1], ChargeExpired) and facts[1].why == "dead_epoch"


async def test_every_worker_carries_calls_each_is_charged_once_and_each_worker_answers_for_all(
    gateway: Gateway, upstream: Upstream, each: list[httpx.Client]
) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = known(each, gateway.customer(), model)
    before = [served_by(http) for http in each]

    done = await calls_of([customer], model, CALLS, max_tokens=50)

    assert [call.status for call in done] == [200] * CALLS
    assert customer.spends(CALLS * PRICE_MILLS)
    for http, earlier in zip(each, before, strict=True):
        assert set(all_told(http, earlier)) == {"0", "1"}
    assert gateway.is_proven()


def all_told(http: httpx.Client, earlier: Mapping[str, int]) -> dict[str, int]:
    """Calls by worker since `earlier`, once whoever is asked knows of all of them."""

    def grown() -> dict[str, int]:
        return {worker: count - earlier.get(worker, 0) for worker, count in served_by(http).items()}

    return eventually(grown, lambda found: sum(found.values()) == CALLS, within_s=10)


def test_what_one_worker_committed_is_in_force_in_the_other_within_the_bound(
    gateway: Gateway, each: list[httpx.Client], record_property: Tell
) -> None:
    customer = gateway.customer()
    seen_ms: dict[int, float] = {}

    for turn in range(CHANGES):
        here, there = each[turn % 2], each[(turn + 1) % 2]
        made = key_made(gateway, here, customer)
        while models_of(there, str(made["key"])) is None:
            time.sleep(LOOK_S)
        seen_ms[as_int(made["id"])] = time.time() * 1000

    facts = gateway.process.ledger("tail", "-n", "200")
    at_ms = {as_object(f["fact"])["id"]: as_int(f["at_ms"]) for f in facts if f["topic"] == "key.created/1"}
    took_ms = [seen_ms[key] - at_ms[key] for key in seen_ms]
    record_property(TOLD, f"two workers: {CHANGES} keys known to the other after {max(took_ms):.0f} ms at most")
    assert max(took_ms) <= FRESH_S * 1000


def key_made(gateway: Gateway, http: httpx.Client, customer: Customer) -> Data:
    """A new key of the customer, made by the worker that the client is connected with."""
    session = customer.session.raw("GET", "/api/user/self").request.headers
    headers = {name: session[name] for name in ("cookie", "veloera-user")}
    answer = http.post("/api/token/", json={"name": "new", "unlimited_quota": True}, headers=headers)
    return as_object(answer.json()["data"])


async def test_a_worker_that_is_killed_is_started_again_and_its_open_hold_goes_back(
    gateway: Gateway, upstream: Upstream
) -> None:
    model, stuck = (gateway.offer(upstream.url(), ratio=1, completion=1) for _ in range(2))
    upstream.always(wire.chat(usage=USAGE), model=model)
    upstream.always(wire.chat(usage=USAGE).held_at(Gate()), model=stuck)
    before = workers_of(gateway)
    with ExitStack() as stack:
        each = [stack.enter_context(reached(gateway, pid)) for pid in before]
        customer = known(each, gateway.customer(), model, stuck)

    waiting = asyncio.create_task(calls_of([customer], stuck, 1))
    await asyncio.to_thread(eventually, lambda: upstream.calls(model=stuck), bool, within_s=10)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    after = await asyncio.to_thread(
        eventually,
        lambda: workers_of(gateway),
        lambda found: len(found) == WORKERS and not set(found) & set(before),
        within_s=RESTARTED_S,
    )
    done = await calls_of([customer], model, CALLS, max_tokens=50)

    assert after
    assert [call.status for call in await waiting] == [0]
    assert [call.status for call in done] == [200] * CALLS
    assert customer.spends(CALLS * PRICE_MILLS)
    assert gateway.is_proven()


def test_when_the_worker_that_leads_dies_another_leads_and_ends_the_holds_of_the_dead(
    gateway: Gateway, record_property: Tell
) -> None:
    customer = gateway.customer()
    leader = eventually(lambda: leader_of(gateway), bool, within_s=TAKES_OVER_S)

    os.kill(leader, signal.SIGKILL)
    began = time.monotonic()
    eventually(lambda: leader_of(gateway), lambda pid: pid not in (0, leader), within_s=TAKES_OVER_S)
    led_s = time.monotonic() - began
    # A worker ends such holds when it starts as well: this one comes after that.
    eventually(lambda: serving(gateway), lambda count: count == WORKERS, within_s=RESTARTED_S)
    charge = held_for_nobody(gateway, customer)
    ended = eventually(lambda: ends_by_death(gateway, charge), bool, within_s=TAKES_OVER_S)

    record_property(TOLD, f"two workers: the leader was killed, another led after {led_s:.1f} s")
    assert ended
    assert customer.spends(0)
    assert gateway.is_proven()


def serving(gateway: Gateway) -> int:
    """How many workers answer."""
    found = workers_of(gateway)
    for pid in found:
        with reached(gateway, pid):
            pass
    return len(found)


def test_a_supervisor_that_is_killed_leaves_no_worker_behind(gateway: Gateway) -> None:
    workers = workers_of(gateway)

    gateway.process.kill_alone()

    assert eventually(lambda: [pid for pid in workers if is_there(pid)], lambda left: not left, within_s=20) == []


def test_told_to_stop_it_refuses_connections_at_once_ends_its_calls_and_leaves_nobody_behind(
    gateway: Gateway, upstream: Upstream, each: list[httpx.Client]
) -> None:
    model, gate = gateway.offer(upstream.url()), Gate()
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE).held_before(2, gate), model=model)
    customer = known(each, gateway.customer(), model)
    workers = workers_of(gateway)

    with customer.streaming(model, max_tokens=50) as response:
        upstream.wait_for_calls(1, model=model)
        for _ in range(3):  # an operator who is impatient
            gateway.process.terminate()
        eventually(lambda: connects(gateway), lambda connected: not connected, within_s=5)
        gate.open()
        lines = [line for line in response.iter_lines() if line]
    status = gateway.process.wait(within_s=30)

    assert lines[-1] == "data: [DONE]"
    assert status == 0
    assert [pid for pid in workers if is_there(pid)] == []


def connects(gateway: Gateway) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", gateway.process.port), 2):
            return True
    except ConnectionRefusedError:
        return False
