"""A call is held before the upstream sees it, settled before its answer ends, and can be explained and proven after."""

from __future__ import annotations

import httpx

from tests.harness import wire
from tests.harness.behaviours import Gate
from tests.harness.gateway import Gateway
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

USAGE = wire.tokens(100, 50)
PRICE_MILLS = (100 + 50 * 2) * 1000


def test_a_whole_answer_costs_its_usage_times_its_price(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=2)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer()

    response = customer.chat(model, max_tokens=50)

    assert response.json()["choices"][0]["message"]["content"] == "Three coins."
    assert customer.spent_mills() == PRICE_MILLS


def test_a_stream_costs_its_usage_times_its_price(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=2)
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE), model=model)
    customer = gateway.customer()

    with customer.streaming(model) as response:
        lines = [line for line in response.iter_lines() if line]

    assert lines[-1] == "data: [DONE]"
    assert customer.spent_mills() == PRICE_MILLS


def test_the_money_is_held_while_the_upstream_works(gateway: Gateway, upstream: Upstream) -> None:
    gate = Gate()
    model = gateway.offer(upstream.url(), ratio=1, completion=2)
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE).held_before(1, gate), model=model)
    customer = gateway.customer()

    with customer.streaming(model, max_tokens=50) as response:
        upstream.wait_for_calls(1, model=model)
        held_mills = customer.spent_mills()
        gate.open()
        response.read()

    assert held_mills >= 50 * 2 * 1000
    assert customer.spent_mills() == PRICE_MILLS


def test_the_charge_is_durable_before_the_stream_ends(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=2)
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE), model=model)
    customer = gateway.customer()

    with customer.streaming(model) as response:
        next(line for line in response.iter_lines() if line == "data: [DONE]")
        spent_mills = customer.spent_mills()

    assert spent_mills == PRICE_MILLS


def test_a_statement_shows_hold_and_settlement_and_the_new_balance(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=2)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer(quota=1_000)
    request_id = customer.chat(model, max_tokens=50).headers["x-request-id"]

    lines = [line for line in gateway.statement(customer.user_id) if line.get("request_id") == request_id]

    assert [line["what"] for line in lines] == ["held", "settled"]
    assert lines[-1]["balance_mills"] == 1_000_000 - PRICE_MILLS


def test_a_charge_explains_itself_by_the_request_id_of_its_answer(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=2)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer()
    request_id = customer.chat(model, max_tokens=50).headers["x-request-id"]

    explained = gateway.explain(request_id)

    assert explained["cost_mills"] == PRICE_MILLS


def test_balances_equal_their_events_after_all_of_it(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=2)
    upstream.queue(wire.chat(usage=USAGE), wire.failure(500), model=model)
    customer = gateway.customer()
    customer.chat(model)
    customer.chat(model)

    proven = gateway.is_proven()

    assert proven


def test_the_log_shows_the_call_with_its_tokens_and_its_charge(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=2)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer()
    customer.chat(model)

    (row,) = eventually(lambda: customer.session.own_logs(type=2), lambda rows: len(rows) == 1)

    assert (row["model_name"], row["prompt_tokens"], row["completion_tokens"]) == (model, 100, 50)
    assert row["quota"] == PRICE_MILLS // 1000


def test_an_upstream_error_costs_nothing_and_keeps_its_status(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.failure(429, "slow down", kind="rate_limit_exceeded", code="rate_limit_exceeded"), model=model)
    customer = gateway.customer()

    response = customer.chat(model)

    assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert customer.spent_mills() == 0


def test_the_upstream_sees_the_channels_key_and_never_the_customers(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), key="sk-of-the-channel")
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer()

    customer.chat(model)

    (call,) = upstream.calls(model=model)
    assert call.headers["authorization"] == "Bearer sk-of-the-channel"
    assert customer.key not in str(call.headers)


def test_the_models_a_key_may_use_are_listed(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer()

    listed = customer.http.get("/v1/models").json()

    assert model in [entry["id"] for entry in listed["data"]]


def test_the_sandbox_answers_the_first_key_at_once(fresh_gateway: Gateway) -> None:
    body = {"model": fresh_gateway.sandbox_model, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    bearer = {"Authorization": f"Bearer {fresh_gateway.root_key}"}

    with httpx.stream(
        "POST", f"{fresh_gateway.url}/v1/chat/completions", json=body, headers=bearer, timeout=60
    ) as response:
        lines = [line for line in response.iter_lines() if line]

    assert lines[-1] == "data: [DONE]"
    assert fresh_gateway.is_proven()
