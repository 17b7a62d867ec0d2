"""What was acknowledged is there after `kill -9`; what was not finished costs nothing."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.harness import wire
from tests.harness.admin import as_int, as_object, as_text
from tests.harness.behaviours import Gate
from tests.harness.gateway import Customer, Gateway, chat_body
from tests.harness.leaving import hang_up
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

CALLS = 200
USAGE = wire.tokens(10, 50)
PRICE_MILLS = 60_000


async def answered(customer: Customer, model: str) -> int:
    """Make all calls, 32 at a time, and count those that were answered."""
    bearer = {"Authorization": f"Bearer {customer.key}"}
    connector = aiohttp.TCPConnector(limit=32)
    async with aiohttp.ClientSession(connector=connector, headers=bearer) as session:

        async def call() -> int:
            url = f"{customer.base_url}/v1/chat/completions"
            async with session.post(url, json=chat_body(model, max_tokens=50)) as response:
                await response.read()
                return response.status

        return (await asyncio.gather(*(call() for _ in range(CALLS)))).count(200)


def spent_mills(gateway: Gateway, customer: Customer) -> int:
    """As the root account sees it: the customer's session need not outlive the process."""
    user = as_object(gateway.root.get(f"/api/user/{customer.user_id}"))
    return customer.opening_mills - int(as_text(user["quota_mills"]))


async def test_two_hundred_acknowledged_charges_survive_a_kill(fresh_gateway: Gateway, upstream: Upstream) -> None:
    model = fresh_gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = fresh_gateway.customer()

    acknowledged = await answered(customer, model)
    fresh_gateway.process.kill_alone()
    fresh_gateway.process.start()
    fresh_gateway.login()

    assert acknowledged == CALLS
    assert spent_mills(fresh_gateway, customer) == CALLS * PRICE_MILLS
    assert fresh_gateway.is_proven()


def test_the_log_has_every_acknowledged_call_after_a_kill(fresh_gateway: Gateway, upstream: Upstream) -> None:
    model = fresh_gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = fresh_gateway.customer()
    for _ in range(5):
        customer.chat(model, max_tokens=50)

    fresh_gateway.process.kill()
    fresh_gateway.process.start()
    fresh_gateway.login()
    rows = eventually(lambda: fresh_gateway.root.logs(type=2, model_name=model), lambda rows: len(rows) == 5)

    assert sum(as_int(row["quota"]) for row in rows) == 5 * PRICE_MILLS // 1000


def test_a_call_that_a_dead_process_left_open_costs_nothing(fresh_gateway: Gateway, upstream: Upstream) -> None:
    gate = Gate()
    model = fresh_gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=USAGE).held_at(gate), model=model)
    customer = fresh_gateway.customer()

    def kill_in_the_middle() -> None:
        upstream.wait_for_calls(1, model=model)
        fresh_gateway.process.kill()

    hang_up(
        f"{fresh_gateway.url}/v1/chat/completions",
        customer.key,
        chat_body(model, max_tokens=50),
        after_events=0,
        first=kill_in_the_middle,
    )
    gate.open()
    fresh_gateway.process.start()
    fresh_gateway.login()

    assert eventually(lambda: spent_mills(fresh_gateway, customer), lambda spent: spent == 0) == 0
    assert fresh_gateway.is_proven()


def test_a_gateway_that_is_asked_to_stop_finishes_what_it_serves(fresh_gateway: Gateway, upstream: Upstream) -> None:
    gate = Gate()
    model = fresh_gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE).held_before(2, gate), model=model)
    customer = fresh_gateway.customer()

    with customer.streaming(model, max_tokens=50) as response:
        lines = response.iter_lines()
        next(line for line in lines if "Three" in line)
        fresh_gateway.process.terminate()
        gate.open()
        rest = [line for line in lines if line]
    fresh_gateway.process.wait()
    fresh_gateway.process.start()
    fresh_gateway.login()

    assert rest[-1] == "data: [DONE]"
    assert spent_mills(fresh_gateway, customer) == PRICE_MILLS
