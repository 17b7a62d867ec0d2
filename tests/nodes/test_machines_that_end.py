"""A machine of two ends: told to, or killed, or one of its processes. What it had acknowledged is there, and the other takes over.

No Redis. `a` ends its calls after two seconds and gives their holds one more; `b` has two workers and the usual bounds of half an
hour, so a hold of `b` that ends within seconds was ended because its process is dead, and one of `a` because its time is over.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import aiohttp
import pytest

from tests.conftest import TOLD
from tests.harness import wire
from tests.harness.admin import as_int, as_object
from tests.harness.behaviours import Gate
from tests.harness.gateway import Customer
from tests.harness.mortal import is_there
from tests.harness.postgres import shared_server
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.nodes.machines import Call, House, Machine, calls_of, leads, one_call

Tell = Callable[[str, object], None]
CALL_S, GRACE_S = 2.0, 1.0
TAKES_OVER_S = 5.0
"""The lead is tried for every two seconds."""
REAPED_S = 5.0
"""After the deadline: a round of the reaper is two seconds."""
SEALED_S = 15.0
RESTARTED_S = 15.0
USAGE = wire.tokens(10, 50)
PRICE_MILLS = 60_000
CLIENTS = 6


class Pair(NamedTuple):
    house: House
    a: Machine
    b: Machine


@pytest.fixture(scope="module")
def house() -> House:
    server = shared_server()
    return House(server, server.database(), {})


@pytest.fixture(scope="module")
def started(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("machines")
    short = {"TOTAL_TIMEOUT_S": str(CALL_S), "HOLD_GRACE_S": str(GRACE_S)}
    with ExitStack() as stack:
        a = stack.enter_context(Machine(folder, "a", house, first=None, **short))
        leads(house, "a")
        yield Pair(house, a, stack.enter_context(Machine(folder, "b", house, first=a, WORKERS="2")))


@pytest.fixture
def pair(started: Pair) -> Pair:
    """Both, serving."""
    started.a.comes_back()
    return started


def explained(machine: Machine, request_id: str) -> tuple[str, list[dict[str, object]]]:
    found = as_object(machine.root.get(f"/api/ledger/explain/{request_id}"))
    facts = found["facts"]
    assert isinstance(facts, list)
    return str(found["state"]), facts


async def test_the_machine_that_leads_is_killed_and_the_other_takes_over_reaping_and_sealing(
    pair: Pair, upstream: Upstream, record_property: Tell
) -> None:
    a, b = pair.a, pair.b
    stuck = a.offer(upstream.url())
    upstream.always(wire.chat(usage=USAGE).held_at(Gate()), model=stuck)
    customer = a.customer()
    await asyncio.to_thread(leads, pair.house, "a")

    calling = asyncio.create_task(calls_of([customer], stuck, 1))
    (_,) = await asyncio.to_thread(upstream.wait_for_calls, 1, 10, model=stuck)
    a.process.kill()
    began = time.monotonic()
    await asyncio.to_thread(leads, pair.house, "b", TAKES_OVER_S)
    led_s = time.monotonic() - began
    await asyncio.to_thread(
        eventually,
        lambda: held_mills(pair.house, customer),
        lambda mills: mills == 0,
        within_s=CALL_S + GRACE_S + REAPED_S,
    )
    await calling
    (request_id,) = [row["request_id"] for row in b.root.logs(username=customer.session.username, type=6)]
    state, facts = explained(b, str(request_id))
    positions = [as_int(fact["position"]) for fact in facts]
    eventually(lambda: sealed_up_to(pair.house), lambda last: last >= positions[-1], within_s=SEALED_S)

    late_ms = as_int(facts[-1]["at_ms"]) - as_int(facts[0]["at_ms"]) - (CALL_S + GRACE_S) * 1000
    record_property(
        TOLD, f"the leader was killed: another led after {led_s:.1f} s, its hold ended {late_ms:.0f} ms late"
    )
    assert state == "expired"
    assert 0 <= late_ms <= REAPED_S * 1000
    assert left_mills(pair.house, customer) == customer.opening_mills
    assert b.is_proven()


async def test_a_machine_that_is_told_to_stop_under_load_loses_nothing(pair: Pair, upstream: Upstream) -> None:
    model = pair.a.offer(upstream.url())
    upstream.always(wire.chat_stream(["coin "] * 10, USAGE).paced(0.02), model=model)
    customer = pair.a.customer(quota=10_000_000)
    elsewhere = pair.b.also(customer)
    done: list[Call] = []

    clients = [asyncio.create_task(until_refused(customer, model, done)) for _ in range(CLIENTS)]
    beside = asyncio.create_task(calls_of([elsewhere], model, 40, stream=True, max_tokens=50))
    await asyncio.to_thread(upstream.wait_for_calls, 2 * CLIENTS, 10, model=model)
    status = await asyncio.to_thread(pair.a.process.stop, 20)
    await asyncio.gather(*clients)
    done += await beside

    assert status == 0
    assert {(call.status, call.is_whole) for call in done} == {(200, True)}
    assert held_mills(pair.house, customer) == 0
    me = elsewhere.session
    assert len(done) > 40
    charged = {
        str(row["request_id"])
        for page in range(1, 10)
        for row in pair.b.root.logs(username=me.username, type=2, p=page)
    }
    assert charged == {call.request_id for call in done}
    assert customer.opening_mills - left_mills(pair.house, customer) == len(done) * PRICE_MILLS


async def test_a_dead_process_of_a_living_machine_holds_nothing_for_longer_than_its_restart(
    pair: Pair, upstream: Upstream, record_property: Tell
) -> None:
    stuck = pair.a.offer(upstream.url())
    upstream.always(wire.chat(usage=USAGE).held_at(Gate()), model=stuck)
    customer = pair.b.also(pair.a.customer())
    before = pair.b.children("worker")

    calling = asyncio.create_task(calls_of([customer], stuck, 1))
    await asyncio.to_thread(upstream.wait_for_calls, 1, 10, model=stuck)
    held = held_mills(pair.house, customer)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    await asyncio.to_thread(
        eventually, lambda: held_mills(pair.house, customer), lambda mills: mills == 0, within_s=RESTARTED_S
    )
    took_s = time.monotonic() - began
    (call,) = await calling

    record_property(TOLD, f"a dead worker of a living machine: its hold ended after {took_s:.1f} s")
    assert held > 0
    assert call.status == 0
    assert customer.available_mills() == customer.opening_mills
    assert len(eventually(lambda: pair.b.children("worker"), lambda found: len(found) == 2, within_s=RESTARTED_S)) == 2
    assert not [pid for pid in before if is_there(pid)]


def held_mills(house: House, customer: Customer) -> int:
    sql = f"SELECT balance::text FROM veloera.balances WHERE account = 'user:{customer.user_id}:held'"
    return sum(int(str(balance)) for (balance,) in house.ask(sql))


async def until_refused(customer: Customer, model: str, done: list[Call]) -> None:
    """Streams, one after the other, until the machine takes no connection any more."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        while True:
            call = await one_call(session, customer, model, stream=True, max_tokens=50)
            if call.status == 0:
                return
            done.append(call)


def left_mills(house: House, customer: Customer) -> int:
    sql = f"SELECT balance::text FROM veloera.balances WHERE account = 'user:{customer.user_id}:available'"
    return sum(int(str(balance)) for (balance,) in house.ask(sql))


def sealed_up_to(house: House) -> int:
    ((last,),) = house.ask("SELECT coalesce(max(last), 0) FROM veloera.seals")
    return as_int(last)
