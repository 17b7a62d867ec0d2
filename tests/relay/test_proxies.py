"""Calls through proxies: real ones, HTTP and SOCKS, on both clients that carry calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay import aiohttp_pool
from relay.aiohttp_pool import AiohttpUpstream
from relay.errors import UpstreamUnreachable
from relay.lean_pool import LeanUpstream
from relay.proxies import NoProxy, proxy_url
from relay.reach import Reach
from relay.upstream import Outgoing, Sending
from tests.harness.certificates import Authority
from tests.harness.lean_calls import HELLO
from tests.harness.proxies import proxy
from tests.harness.raw_peer import RawPeer, Wire, answering, on_both_loops

Carrier = LeanUpstream | AiohttpUpstream
both_carriers = pytest.mark.parametrize("made", [LeanUpstream, AiohttpUpstream], ids=["lean", "aiohttp"])


@asynccontextmanager
async def carrier(made: Callable[[Reach], Carrier], **terms: Any) -> AsyncIterator[Carrier]:
    upstream = made(Reach(**{"connections": 4, **terms}))
    try:
        yield upstream
    finally:
        await upstream.close()


async def through(upstream: Carrier, proxy_text: str, url: str) -> bytes:
    answer = await upstream.open(Outgoing(url, {}, b"{}", proxy_text), Sending())
    try:
        return await answer.read(1 << 20)
    finally:
        answer.close()


@pytest.mark.parametrize(
    ("protocol", "scheme", "names"),
    [("http", "http", True), ("socks5", "socks5", True), ("socks5", "socks5h", True), ("socks4", "socks4", False)],
)
@both_carriers
@on_both_loops
async def test_calls_go_through_a_proxy_and_share_a_connection(
    made: Callable[[Reach], Carrier], protocol: str, scheme: str, names: bool
) -> None:
    async with proxy(protocol) as via, RawPeer(answering(HELLO)) as peer, carrier(made) as upstream:
        url = f"http://localhost:{peer.port}/v1"

        bodies = [await through(upstream, f"{scheme}://127.0.0.1:{via.port}", url) for _ in range(3)]

        assert bodies == [b"hello"] * 3
        assert len(peer.wires) == 1
        # Who resolves names hands the proxy the name, and nothing else.
        assert all(("localhost" in asked) is names for asked in via.asked)
        assert via.asked


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@both_carriers
async def test_a_proxy_is_told_its_user_and_password(made: Callable[[Reach], Carrier], scheme: str) -> None:
    async with (
        proxy(scheme, "me:hush") as via,
        RawPeer(answering(HELLO)) as peer,
        carrier(made) as upstream,
    ):
        assert await through(upstream, f"{scheme}://me:hush@127.0.0.1:{via.port}", peer.url) == b"hello"


@both_carriers
async def test_a_socks_proxy_that_refuses_the_password_is_a_provider_out_of_reach(
    made: Callable[[Reach], Carrier],
) -> None:
    async with proxy("socks5", "me:hush") as via, RawPeer(answering(HELLO)) as peer, carrier(made) as upstream:
        sending = Sending()

        with pytest.raises(UpstreamUnreachable) as refused:
            await upstream.open(Outgoing(peer.url, {}, b"{}", f"socks5://me:guessed@127.0.0.1:{via.port}"), sending)

        assert (sending.whole, peer.wires) == (False, [])
        assert "guessed" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks4"])
@both_carriers
async def test_a_proxy_that_is_not_there_is_a_provider_out_of_reach(
    made: Callable[[Reach], Carrier], scheme: str, unused_tcp_port: int
) -> None:
    async with carrier(made) as upstream:
        with pytest.raises(UpstreamUnreachable, match="no connection"):
            await through(upstream, f"{scheme}://127.0.0.1:{unused_tcp_port}", "http://provider.test/v1")


@pytest.mark.parametrize("protocol", ["http", "socks5"])
@both_carriers
async def test_tls_goes_through_a_proxy_whole_and_the_provider_is_checked(
    made: Callable[[Reach], Carrier], protocol: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    async with (
        proxy(protocol) as via,
        RawPeer(answering(HELLO), tls=authority.vouches_for("localhost")) as peer,
        carrier(made, extra_roots=authority.roots) as trusting,
        carrier(made) as wary,
    ):
        url, text = f"https://localhost:{peer.port}/v1", f"{protocol}://127.0.0.1:{via.port}"

        assert await through(trusting, text, url) == b"hello"
        with pytest.raises(UpstreamUnreachable):
            await through(wary, text, url)


@both_carriers
async def test_a_proxy_may_be_where_a_provider_may_not(made: Callable[[Reach], Carrier]) -> None:
    asked: list[str] = []

    def permit(address: str) -> bool:
        asked.append(address)
        return False

    async with (
        proxy("socks5") as via,
        proxy("http") as other,
        RawPeer(answering(HELLO)) as peer,
        carrier(made, permit=permit) as upstream,
    ):
        assert await through(upstream, f"socks5://127.0.0.1:{via.port}", peer.url) == b"hello"
        assert await through(upstream, f"http://127.0.0.1:{other.port}", peer.url) == b"hello"
        assert asked == []


async def test_a_socks_proxy_that_was_used_longest_ago_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp_pool, "MAX_SOCKS_PROXIES", 1)
    async with (
        proxy("socks5") as first,
        proxy("socks5") as second,
        RawPeer(answering(HELLO)) as peer,
        carrier(AiohttpUpstream) as upstream,
    ):
        for via in (first, second, first):
            assert await through(upstream, f"socks5://127.0.0.1:{via.port}", peer.url) == b"hello"

        assert [len(via.asked) for via in (first, second)] == [2, 1]


async def test_a_socks_proxy_that_carries_a_call_is_not_closed_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp_pool, "MAX_SOCKS_PROXIES", 1)
    async with (
        proxy("socks5") as first,
        proxy("socks5") as second,
        RawPeer(answering(HELLO)) as peer,
        carrier(AiohttpUpstream) as upstream,
    ):
        answer = await upstream.open(Outgoing(peer.url, {}, b"{}", f"socks5://127.0.0.1:{first.port}"), Sending())
        with pytest.raises(UpstreamUnreachable, match="1 SOCKS proxies"):
            await through(upstream, f"socks5://127.0.0.1:{second.port}", peer.url)

        assert await answer.read(100) == b"hello"
        answer.close()
        assert await through(upstream, f"socks5://127.0.0.1:{second.port}", peer.url) == b"hello"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://me:hush@host:1", "begins with"),
        ("host:1080", "begins with"),
        ("socks5://me:hush@host", "port"),
        ("socks5://:1080", "host"),
        ("http://me:hush@host:8080/path", "nothing behind"),
        ("http://me:hush@host:8080?q", "nothing behind"),
        ("http://me:hush@host:99999", "begins with"),
        ("http://[::1", "begins with"),
    ],
)
@both_carriers
async def test_what_is_no_proxy_is_refused_without_its_password(
    made: Callable[[Reach], Carrier], text: str, said: str
) -> None:
    with pytest.raises(NoProxy, match=said):
        proxy_url(text)
    async with carrier(made) as upstream:
        with pytest.raises(UpstreamUnreachable) as refused:
            await through(upstream, text, "http://127.0.0.1:9/v1")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["http://host", "https://host", "socks5://me:hush@host:1080", "socks5h://[::1]:1080/", "socks4a://h:1"]
)
def test_what_is_a_proxy_is_taken_as_it_is(text: str) -> None:
    assert str(proxy_url(text)).rstrip("/") == text.rstrip("/")


async def test_more_calls_than_may_wait_are_refused_by_aiohttp_too() -> None:
    met = asyncio.Event()

    async def slow(wire: Wire) -> None:
        await wire.request()
        await met.wait()
        await wire.send(HELLO)

    async with RawPeer(slow) as peer, carrier(AiohttpUpstream, connections=1, max_waiting=2) as upstream:
        calls = [asyncio.create_task(through(upstream, "", peer.url)) for _ in range(3)]
        await peer.has(lambda peer: len(peer.requests) == 1)

        with pytest.raises(UpstreamUnreachable, match="2 calls wait"):
            await through(upstream, "", peer.url)
        for call in calls:
            call.cancel()
        met.set()
        await asyncio.gather(*calls, return_exceptions=True)


@both_carriers
async def test_no_more_connections_go_to_one_origin_than_may(made: Callable[[Reach], Carrier]) -> None:
    together: list[int] = []

    async def counted(wire: Wire) -> None:
        while True:
            await wire.request()
            together.append(peer.open)
            await asyncio.sleep(0.005)
            await wire.send(HELLO)

    async with RawPeer(counted) as peer, carrier(made, connections=16, per_origin=2) as upstream:
        bodies = await asyncio.gather(*(through(upstream, "", peer.url) for _ in range(12)))

        assert bodies == [b"hello"] * 12
        assert max(together) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
@both_carriers
async def test_an_address_that_is_not_permitted_is_not_connected_to(
    made: Callable[[Reach], Carrier], host: str
) -> None:
    async with (
        RawPeer(answering(HELLO)) as peer,
        carrier(made, permit=lambda address: not address.startswith("127.") and address != "::1") as upstream,
    ):
        with pytest.raises(UpstreamUnreachable, match="no connection"):
            await through(upstream, "", f"http://{host}:{peer.port}/v1")

        assert peer.wires == []
