"""Several processes carry calls behind one port and over one ledger; any of them may die, and nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.conftest import OpenGateway
from tests.harness import wire
from tests.harness.behaviours import Gate
from tests.harness.gateway import Customer, Gateway, chat_body
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

WORKERS = 2
CALLS = 60
USAGE = wire.tokens(10, 50)
PRICE_MILLS = 60_000


@pytest.fixture
def gateway_of_two(open_gateway: OpenGateway) -> Gateway:
    return open_gateway({"WORKERS": str(WORKERS)})


def workers_of(gateway: Gateway) -> list[int]:
    """The pids of its workers, as the kernel knows them."""
    threads = Path(f"/proc/{gateway.process.pid}/task").glob("*/children")
    children = [pid for path in threads for pid in path.read_text().split()]
    found = [int(pid) for pid in children if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    return sorted(found)


def served_by(gateway: Gateway) -> dict[str, int]:
    """Calls by worker, from whichever worker answers."""
    text = httpx.get(f"{gateway.process.url}/metrics").text
    found = re.findall(r'veloera_calls_total\{endpoint="chat",status="200",worker="(\d)"\} (\d+)', text)
    return {worker: int(count) for worker, count in found}


def known(gateway: Gateway, customer: Customer, *models: str) -> Customer:
    """The customer, once whichever worker answers has heard of it: each follows the ledger by itself, within the stated bound."""

    def listed() -> bool:
        bearer = {"Authorization": f"Bearer {customer.key}"}
        answers = [httpx.get(f"{gateway.process.url}/v1/models", headers=bearer) for _ in range(8 * WORKERS)]
        return all(answer.status_code == 200 and set(models) <= set(ids_in(answer)) for answer in answers)

    eventually(listed, bool)
    return customer


def ids_in(answer: httpx.Response) -> list[str]:
    return [str(one["id"]) for one in answer.json()["data"]]


async def answered(customer: Customer, model: str, calls: int = CALLS) -> int:
    """Make calls, each on a connection of its own, and count those that were answered."""
    bearer = {"Authorization": f"Bearer {customer.key}"}
    connector = aiohttp.TCPConnector(limit=16, force_close=True)
    async with aiohttp.ClientSession(connector=connector, headers=bearer) as session:

        async def call() -> int:
            url = f"{customer.base_url}/v1/chat/completions"
            try:
                async with session.post(url, json=chat_body(model, max_tokens=50)) as response:
                    await response.read()
                    return response.status
            except aiohttp.ClientError:
                return 0

        return (await asyncio.gather(*(call() for _ in range(calls)))).count(200)


async def test_every_worker_carries_calls_and_each_call_is_charged_once(
    gateway_of_two: Gateway, upstream: Upstream
) -> None:
    model = gateway_of_two.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = known(gateway_of_two, gateway_of_two.customer(), model)

    done = await answered(customer, model)

    assert done == CALLS
    assert customer.spends(CALLS * PRICE_MILLS)
    counts = eventually(lambda: served_by(gateway_of_two), lambda found: sum(found.values()) == CALLS, within_s=10)
    assert set(counts) == {"0", "1"}
    assert gateway_of_two.is_proven()


async def test_a_worker_that_is_killed_is_started_again_and_its_open_hold_goes_back(
    gateway_of_two: Gateway, upstream: Upstream
) -> None:
    model, stuck = (gateway_of_two.offer(upstream.url(), ratio=1, completion=1) for _ in range(2))
    upstream.always(wire.chat(usage=USAGE), model=model)
    upstream.always(wire.chat(usage=USAGE).held_at(Gate()), model=stuck)
    customer = known(gateway_of_two, gateway_of_two.customer(), model, stuck)
    before = workers_of(gateway_of_two)

    waiting = asyncio.create_task(answered(customer, stuck, calls=1))
    await asyncio.to_thread(eventually, lambda: upstream.calls(model=stuck), bool, within_s=10)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    after = await asyncio.to_thread(
        eventually,
        lambda: workers_of(gateway_of_two),
        lambda found: len(found) == WORKERS and not set(found) & set(before),
        within_s=20,
    )
    done = await answered(customer, model)

    assert after
    assert await waiting == 0
    assert done == CALLS
    assert customer.spends(CALLS * PRICE_MILLS)
    assert gateway_of_two.is_proven()


def test_a_supervisor_that_is_killed_leaves_no_worker_behind(gateway_of_two: Gateway) -> None:
    workers = workers_of(gateway_of_two)

    gateway_of_two.process.kill_alone()

    assert (
        eventually(
            lambda: [pid for pid in workers if Path(f"/proc/{pid}").exists()], lambda left: not left, within_s=20
        )
        == []
    )


def test_told_to_stop_it_stops_its_workers_and_ends_with_success(gateway_of_two: Gateway) -> None:
    workers = workers_of(gateway_of_two)

    status = gateway_of_two.process.stop(within_s=30)

    assert status == 0
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []
