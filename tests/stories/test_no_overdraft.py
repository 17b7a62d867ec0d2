"""Parallel calls cannot spend the same quota twice: a balance worth 40 calls answers at most 40 of 200."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from tests.harness import wire
from tests.harness.gateway import Customer, Gateway, chat_body
from tests.harness.upstream import Upstream

INPUT_TOKENS, OUTPUT_TOKENS = 10, 50
PRICE_QUOTA = INPUT_TOKENS + OUTPUT_TOKENS
WORTH_CALLS = 40
CALLS = 200


@dataclass(frozen=True)
class Reply:
    """One answer: its status and, of a refusal, code and message."""

    status: int
    code: str = ""
    message: str = ""


async def at_once(customer: Customer, model: str, calls: int) -> list[Reply]:
    """So many calls in parallel, each on a connection of its own."""
    body = chat_body(model, max_tokens=OUTPUT_TOKENS)
    bearer = {"Authorization": f"Bearer {customer.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=bearer) as session:

        async def call() -> Reply:
            async with session.post(f"{customer.base_url}/v1/chat/completions", json=body) as response:
                answer = await response.json()
                error = answer.get("error", {})
                return Reply(response.status, error.get("code") or "", error.get("message") or "")

        return await asyncio.gather(*(call() for _ in range(calls)))


def named_mills(message: str) -> tuple[int, int]:
    """What a refusal says was needed, and what was there."""
    needed, available = (int(mills) for mills in re.findall(r"(\d+) mills", message))
    return needed, available


async def test_a_balance_for_forty_calls_never_answers_more_of_two_hundred(
    gateway: Gateway, upstream: Upstream, record_property: Callable[[str, object], None]
) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=wire.tokens(INPUT_TOKENS, OUTPUT_TOKENS)).delayed(0.5), model=model)
    customer = gateway.customer(quota=WORTH_CALLS * PRICE_QUOTA)

    replies = await at_once(customer, model, CALLS)
    answered = sum(reply.status == 200 for reply in replies)
    refused = [reply for reply in replies if reply.status != 200]
    left_mills = customer.available_mills()

    assert 0 < answered <= WORTH_CALLS
    assert {(reply.status, reply.code) for reply in refused} == {(403, "insufficient_user_quota")}
    assert left_mills == (WORTH_CALLS - answered) * PRICE_QUOTA * 1000
    assert len(upstream.calls(model=model)) == answered
    needed_mills, _ = named_mills(refused[0].message)
    record_property(
        "told",
        f"balance worth {WORTH_CALLS} calls, {CALLS} at once: price {PRICE_QUOTA:,} quota, hold {needed_mills / 1000:,} quota, "
        f"{answered} answered, {len(refused)} refused, {left_mills / 1000:,} quota left",
    )


async def test_clients_that_retry_end_with_less_than_one_hold_left(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=wire.tokens(INPUT_TOKENS, OUTPUT_TOKENS)), model=model)
    customer = gateway.customer(quota=WORTH_CALLS * PRICE_QUOTA)

    last = Reply(200)
    while last.status == 200:
        *_, last = await at_once(customer, model, 20)
    alone = customer.chat(model, max_tokens=OUTPUT_TOKENS)
    while alone.status_code == 200:
        alone = customer.chat(model, max_tokens=OUTPUT_TOKENS)

    needed_mills, named_left_mills = named_mills(alone.json()["error"]["message"])
    assert alone.status_code == 403
    assert named_left_mills == customer.available_mills()
    assert PRICE_QUOTA * 1000 <= needed_mills <= 2 * PRICE_QUOTA * 1000
    assert 0 <= named_left_mills < needed_mills


async def test_a_refusal_names_what_was_needed_and_what_was_there(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    customer = gateway.customer(quota=7)

    error = customer.chat(model, max_tokens=OUTPUT_TOKENS).json()["error"]

    needed_mills, available_mills = named_mills(error["message"])
    assert error["code"] == "insufficient_user_quota"
    assert available_mills == 7_000
    assert needed_mills >= OUTPUT_TOKENS * 1000


async def test_a_limited_key_cannot_be_overdrawn_either(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=wire.tokens(INPUT_TOKENS, OUTPUT_TOKENS)).delayed(0.2), model=model)
    customer = gateway.customer(key={"unlimited_quota": False, "remain_quota": 5 * PRICE_QUOTA})

    replies = await at_once(customer, model, 40)

    answered = sum(reply.status == 200 for reply in replies)
    assert 0 < answered <= 5
    assert {reply.status for reply in replies if reply.status != 200} <= {401, 403}
    assert customer.spent_mills() == answered * PRICE_QUOTA * 1000


def test_a_frozen_user_is_told_so_and_nothing_goes_upstream(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=wire.tokens(10, 50)), model=model)
    customer = gateway.customer()

    gateway.root.post(f"/api/user/{customer.user_id}/freeze", {"reason": "asked"})
    answer = customer.chat(model)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "user_frozen"
    assert upstream.calls(model=model) == []
    assert customer.spent_mills() == 0
