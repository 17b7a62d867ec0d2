"""The official `openai` SDK against a running gateway, over a socket: sync, async, streams, tools, errors, retries."""

from __future__ import annotations

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

from tests.harness import wire
from tests.harness.gateway import Customer, Gateway
from tests.harness.upstream import Upstream

USAGE = wire.tokens(100, 50)
PRICE_MILLS = 150_000
COUNTED_MILLS = 12_000
"""Eleven tokens of prompt and one of answer, by our own count."""
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Count the coins."}]
TOOL: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {"name": "count_coins", "parameters": {"type": "object", "properties": {}}},
}


def sdk(customer: Customer, max_retries: int = 0) -> OpenAI:
    return OpenAI(api_key=customer.key, base_url=f"{customer.base_url}/v1", max_retries=max_retries, timeout=20)


def async_sdk(customer: Customer) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=customer.key, base_url=f"{customer.base_url}/v1", max_retries=0, timeout=20)


def test_a_sync_chat(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer()

    answer = sdk(customer).chat.completions.create(model=model, messages=MESSAGES)

    assert answer.choices[0].message.content == "Three coins."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 150
    assert customer.spent_mills() == PRICE_MILLS


async def test_an_async_chat(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer()

    async with async_sdk(customer) as client:
        answer = await client.chat.completions.create(model=model, messages=MESSAGES)

    assert answer.choices[0].message.content == "Three coins."
    assert customer.spent_mills() == PRICE_MILLS


def test_a_sync_stream_with_its_usage(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE), model=model)
    customer = gateway.customer()

    chunks = list(
        sdk(customer).chat.completions.create(
            model=model,
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Three coins."
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 150
    assert customer.spent_mills() == PRICE_MILLS


async def test_an_async_stream(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE), model=model)
    customer = gateway.customer()

    async with async_sdk(customer) as client:
        stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert text == "Three coins."
    assert customer.spent_mills() == PRICE_MILLS


def test_a_tool_call_and_its_arguments(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    called = [wire.tool_call("count_coins", '{"jar": 1}')]
    upstream.always(wire.chat(None, USAGE, finish="tool_calls", tool_calls=called), model=model)
    customer = gateway.customer()

    answer = sdk(customer).chat.completions.create(model=model, messages=MESSAGES, tools=[TOOL])

    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("count_coins", '{"jar": 1}')
    assert upstream.calls(model=model)[0].json()["tools"] == [TOOL]
    assert customer.spent_mills() == PRICE_MILLS


def test_a_streamed_tool_call_is_put_together(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    delta = {"tool_calls": [wire.tool_call("count_coins", '{"jar": 1}')]}
    upstream.always(wire.delta_stream([delta], USAGE, finish="tool_calls"), model=model)
    customer = gateway.customer()

    with sdk(customer).chat.completions.stream(model=model, messages=MESSAGES) as stream:
        stream.until_done()
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []

    assert call.function.arguments == '{"jar": 1}'
    assert customer.spent_mills() == PRICE_MILLS


def test_embeddings(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.embeddings(2, {"prompt_tokens": 100, "total_tokens": 100}), model=model)
    customer = gateway.customer()

    answer = sdk(customer).embeddings.create(model=model, input=["one", "two"], encoding_format="float")

    assert [entry.embedding for entry in answer.data] == [[0.25, 0.5, 0.75]] * 2
    assert customer.spent_mills() == 100_000


def test_legacy_completions_whole_and_streamed(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.queue(wire.completion(usage=USAGE), wire.completion_stream(["Three", " coins."], USAGE), model=model)
    customer = gateway.customer()
    client = sdk(customer)

    whole = client.completions.create(model=model, prompt="Count").choices[0].text
    streamed = "".join(
        chunk.choices[0].text for chunk in client.completions.create(model=model, prompt="Count", stream=True)
    )

    assert whole == streamed == "Three coins."
    assert customer.spent_mills() == 2 * PRICE_MILLS


def test_the_list_of_models(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer()

    listed = [entry.id for entry in sdk(customer).models.list()]

    assert model in listed
    assert sdk(customer).models.retrieve(model).id == model


def test_the_sdk_knows_our_refusals_by_their_types(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    poor, rich = gateway.customer(quota=0), gateway.customer()
    stranger = OpenAI(api_key="sk-nobody", base_url=f"{gateway.url}/v1", max_retries=0)

    with pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model=model, messages=MESSAGES)
    with pytest.raises(openai.NotFoundError):
        sdk(rich).chat.completions.create(model="no-such-model", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        sdk(rich).chat.completions.create(model=model, messages=MESSAGES, max_tokens=-1)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        sdk(poor).chat.completions.create(model=model, messages=MESSAGES)

    assert refused.value.code == "insufficient_user_quota"
    assert refused.value.request_id


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (400, openai.BadRequestError, "not like this"),
        (422, openai.UnprocessableEntityError, "not like this"),
        (429, openai.RateLimitError, "saturated"),
    ],
)
def test_an_upstreams_refusal_reaches_the_sdk_as_itself(
    gateway: Gateway, upstream: Upstream, status: int, error: type[openai.APIStatusError], words: str
) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.failure(status, "not like this"), model=model)
    customer = gateway.customer()

    with pytest.raises(error, match=words):
        sdk(customer).chat.completions.create(model=model, messages=MESSAGES)

    assert customer.spent_mills() == 0


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_retry_by_the_sdk_is_charged_once(gateway: Gateway, upstream: Upstream, status: int) -> None:
    model = gateway.offer(upstream.url())
    upstream.queue(wire.failure(status), wire.chat(usage=USAGE), model=model)
    customer = gateway.customer()

    answer = sdk(customer, max_retries=2).chat.completions.create(model=model, messages=MESSAGES)

    assert answer.choices[0].message.content == "Three coins."
    assert len(upstream.calls(model=model)) == 2
    assert customer.spent_mills() == PRICE_MILLS


def test_an_error_inside_a_stream_is_an_error_of_the_sdk(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.broken_off(wire.chat_stream(["Three"]), "the upstream is full"), model=model)
    customer = gateway.customer()

    with pytest.raises(openai.APIError, match="the upstream is full"):
        list(sdk(customer).chat.completions.create(model=model, messages=MESSAGES, stream=True))

    assert customer.spends(COUNTED_MILLS)
