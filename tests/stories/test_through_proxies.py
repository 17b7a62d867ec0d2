"""Calls that reach their provider through a proxy, and calls that may not reach it: what they answer, and what they cost."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import OpenGateway
from tests.harness import wire
from tests.harness.gateway import Gateway
from tests.harness.proxies import Proxy, proxy
from tests.harness.upstream import Upstream

PIECES = ("Three", " copper", " coins.")
USAGE = wire.tokens(100, 50)
PRICE_MILLS = 150_000
STARTS_WITHIN_S = 5.0


@contextmanager
def running(protocol: str) -> Iterator[tuple[str, list[str]]]:
    """A proxy with a password, in a thread of its own: its URL, and a line for each connection that it was asked for."""
    ready = threading.Event()
    found: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, Proxy]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        async with proxy(protocol, "me:hush") as there:
            found.append((asyncio.get_running_loop(), stop, there))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(STARTS_WITHIN_S)
    loop, stop, there = found[0]
    try:
        yield f"{protocol}://me:hush@127.0.0.1:{there.port}", there.asked
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STARTS_WITHIN_S)


@pytest.mark.parametrize("protocol", ["http", "socks5"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_channel_s_proxy_carries_its_calls_at_their_price(
    gateway: Gateway, upstream: Upstream, protocol: str, stream: bool
) -> None:
    with running(protocol) as (url, asked):
        model = gateway.offer(upstream.url(), setting=json.dumps({"proxy": url}))
        upstream.always(wire.chat_stream(PIECES, USAGE) if stream else wire.chat("".join(PIECES), USAGE), model=model)
        customer = gateway.customer()

        answer = customer.chat(model, stream=stream)

        assert answer.status_code == 200, answer.text
        assert "copper" in answer.text
        assert customer.spends(PRICE_MILLS)
        assert len(asked) == 1


def test_a_proxy_that_is_not_there_costs_nothing(gateway: Gateway, upstream: Upstream, unused_tcp_port: int) -> None:
    setting = json.dumps({"proxy": f"socks5://me:hush@127.0.0.1:{unused_tcp_port}"})
    model = gateway.offer(upstream.url(), setting=setting)
    customer = gateway.customer()

    answer = customer.chat(model)

    assert answer.status_code == 502
    assert "hush" not in answer.text
    assert customer.available_mills() == customer.opening_mills
    assert upstream.calls(model=model) == []


def test_with_public_addresses_only_no_channel_leads_into_the_own_network(
    open_gateway: OpenGateway, upstream: Upstream
) -> None:
    gateway = open_gateway({"UPSTREAM_ADDRESSES": "public"})
    customer = gateway.customer()
    models = [
        gateway.offer(url)
        for url in (upstream.url(), upstream.url().replace("127.0.0.1", "localhost"), "http://[::1]:9")
    ]

    answers = [customer.chat(model) for model in models]

    assert [answer.status_code for answer in answers] == [502] * 3
    assert customer.available_mills() == customer.opening_mills
    assert [upstream.calls(model=model) for model in models] == [[]] * 3
