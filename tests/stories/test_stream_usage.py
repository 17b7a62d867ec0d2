"""Usage in streams: the gateway asks for it, charges by it, and shows it only to those who asked."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.harness import wire
from tests.harness.behaviours import Stream
from tests.harness.gateway import Customer, Gateway
from tests.harness.upstream import Upstream

USAGE = wire.tokens(100, 50)
ASKED = {"stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def unforced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that does not ask for usage on its own."""
    with Gateway(tmp_path_factory.mktemp("unforced") / "data", {"FORCE_STREAM_OPTION": "false"}) as running:
        yield running


def events(customer: Customer, model: str, **fields: object) -> list[str]:
    """The data of every event of a streamed chat."""
    with customer.streaming(model, "Count the coins.", **fields) as response:
        return [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]


def usages(data: list[str]) -> list[object]:
    """The usage objects among the events."""
    chunks = [json.loads(line) for line in data if line != "[DONE]"]
    return [chunk["usage"] for chunk in chunks if chunk.get("usage") is not None]


def test_the_usage_chunk_is_asked_for_and_withheld_from_a_client_that_did_not_ask(
    gateway: Gateway, upstream: Upstream
) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE), model=model)
    customer = gateway.customer()

    data = events(customer, model)

    assert upstream.calls(model=model)[0].json()["stream_options"] == {"include_usage": True}
    assert usages(data) == []
    assert [json.loads(line)["choices"] for line in data[:-1]].count([]) == 0
    assert customer.spent_mills() == 150_000


def test_a_client_that_asked_gets_the_usage_as_the_upstream_stated_it(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.chat_stream(["Three", " coins."], USAGE), model=model)
    customer = gateway.customer()

    data = events(customer, model, **ASKED)

    assert usages(data) == [USAGE]


@pytest.mark.parametrize("asked", [{}, ASKED], ids=["not asked", "asked"])
def test_usage_on_the_finish_chunk_is_charged(gateway: Gateway, upstream: Upstream, asked: dict[str, object]) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.delta_stream([{"content": "Three"}], USAGE, usage_on="finish"), model=model)
    customer = gateway.customer()

    data = events(customer, model, **asked)

    assert any('"stop"' in line for line in data)
    assert customer.spent_mills() == 150_000


def test_without_forcing_the_clients_own_wish_is_passed_on(unforced: Gateway, upstream: Upstream) -> None:
    model = unforced.offer(upstream.url())
    upstream.always(wire.chat_stream(["Three"], USAGE), model=model)
    customer = unforced.customer()

    events(customer, model)
    events(customer, model, **ASKED)

    bodies = [call.json() for call in upstream.calls(model=model)]
    assert [body.get("stream_options") for body in bodies] == [None, {"include_usage": True}]


def test_text_that_looks_like_usage_is_not_usage(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    lie = '{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
    upstream.always(wire.chat_stream([lie, '"usage":'], USAGE), model=model)
    customer = gateway.customer()

    events(customer, model)

    assert customer.spent_mills() == 150_000


@pytest.mark.parametrize("cut_into", [1, 7, 1000])
def test_events_may_arrive_in_any_pieces(gateway: Gateway, upstream: Upstream, cut_into: int) -> None:
    model = gateway.offer(upstream.url())
    whole = b"".join(wire.chat_stream(["Three", " copper", " coins."], USAGE).events)
    pieces = tuple(whole[at : at + cut_into] for at in range(0, len(whole), cut_into))
    upstream.always(Stream(pieces), model=model)
    customer = gateway.customer()

    data = events(customer, model, **ASKED)

    assert usages(data) == [USAGE]
    assert data[-1] == "[DONE]"
    assert customer.spent_mills() == 150_000
