"""When the upstream states no usage the text is counted, whatever shape a lenient upstream took it in."""

from __future__ import annotations

import pytest

from tests.harness import wire
from tests.harness.gateway import Gateway
from tests.harness.upstream import Upstream

CHAT = "/v1/chat/completions"
PIXEL = "data:image/png;base64," + "A" * 20_000


@pytest.mark.parametrize(
    "messages",
    [
        ["x"],
        [5, None, True],
        [{}],
        [{"role": 7, "content": {"a": ["b"]}}],
        [{"role": "user", "content": [{"type": "text", "text": "Count"}, {"type": "text"}, 5, "x"]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}],
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}],
        [{"role": "user", "content": "<|endoftext|> \u0000 \U0001f600"}],
        [{"role": "assistant", "content": None, "tool_calls": [wire.tool_call("count", "{}")]}],
        [{"role": "user", "content": "x", "name": ["not", "text"]}],
    ],
    ids=lambda messages: str(messages)[:60],
)
def test_a_chat_of_any_shape_is_counted(gateway: Gateway, upstream: Upstream, messages: list[object]) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat("Three copper coins."), model=model)
    customer = gateway.customer()

    response = customer.post(CHAT, {"model": model, "messages": messages})

    assert response.status_code == 200, response.text
    assert 4_000 <= customer.spent_mills() < 10_000_000


@pytest.mark.parametrize("tools", [[], [5], ["x"], [{}], [{"type": "function", "function": {"name": 5}}]], ids=str)
def test_tools_of_any_shape_are_counted(gateway: Gateway, upstream: Upstream, tools: list[object]) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat("Three copper coins."), model=model)
    customer = gateway.customer()

    response = customer.chat(model, tools=tools)

    assert response.status_code == 200, response.text
    assert customer.spent_mills() >= 4_000


@pytest.mark.parametrize("prompt", ["Count", ["Count", "again"], [1, 2, 3], [[1, 2], [3]]], ids=str)
def test_a_prompt_of_any_kind_is_counted(gateway: Gateway, upstream: Upstream, prompt: object) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.completion("Three copper coins."), model=model)
    customer = gateway.customer()

    response = customer.post("/v1/completions", {"model": model, "prompt": prompt})

    assert response.status_code == 200, response.text
    assert customer.spent_mills() >= 5_000


@pytest.mark.parametrize("given", ["Count", ["Count", "again"], [1, 2, 3], [[1, 2], [3]]], ids=str)
def test_an_embedding_input_of_any_kind_is_counted(gateway: Gateway, upstream: Upstream, given: object) -> None:
    model = gateway.offer(upstream.url(), ratio=1)
    upstream.always(wire.embeddings(1), model=model)
    customer = gateway.customer()

    response = customer.post("/v1/embeddings", {"model": model, "input": given})

    assert response.status_code == 200, response.text
    assert 1_000 <= customer.spent_mills() <= 20_000


def test_a_base64_image_is_not_held_for_by_its_bytes(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=wire.tokens(900, 10)), model=model)
    customer = gateway.customer(quota=3_000)
    seen = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL * 20}}]

    response = customer.post(CHAT, {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": seen}]})

    assert response.status_code == 200, response.text
    assert customer.spent_mills() == 910_000
