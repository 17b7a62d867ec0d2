"""A gateway of two workers, under load, loses what it can do without: Redis stops and dies, the projector is killed again and again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from random import Random
from time import monotonic

import aiohttp
import httpx
import pytest

from tests.chaos.knobs import cases, seconds
from tests.crash.gateway_rounds import SECRET
from tests.crash.where import KINDS, Kind
from tests.harness import wire
from tests.harness.admin import as_int, as_object
from tests.harness.gateway import Customer, Gateway, chat_body
from tests.harness.postgres import shared_server
from tests.harness.redis import RedisServer
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.laws.seeds import chance

Tell = Callable[[str, object], None]
SECONDS = seconds(0.4, 10)
"""Of each state of Redis, and of a projector that is killed."""
CLIENTS = 8
USAGE = wire.tokens(10, 5)
PRICE_MILLS = 15_000
ANSWERS_WITHIN_S = 3.0
"""The longest a call may take, whatever Redis does, on a machine that does other things as well."""
LIMITS = {"ModelRequestRateLimitEnabled": "true", "ModelRequestRateLimitSuccessCount": "1000000"}


class Load:
    """Calls, over and over, and how long they took in each state."""

    def __init__(self) -> None:
        self.state = "with it"
        self.took_s: dict[str, list[float]] = {}
        self.statuses: Counter[int] = Counter()

    async def client(self, customer: Customer, model: str) -> None:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {customer.key}"}) as session:
            url = f"{customer.base_url}/v1/chat/completions"
            while self.state != "over":
                state, began = self.state, monotonic()
                async with session.post(url, json=chat_body(model, max_tokens=5)) as response:
                    await response.read()
                self.statuses[response.status] += 1
                self.took_s.setdefault(state, []).append(monotonic() - began)

    def __str__(self) -> str:
        return ", ".join(
            f"{state} {len(took)} calls, p50 {1000 * sorted(took)[len(took) // 2]:.0f} ms, longest {1000 * max(took):.0f} ms"
            for state, took in self.took_s.items()
        )


@asynccontextmanager
async def loaded(customer: Customer, model: str) -> AsyncGenerator[Load]:
    load = Load()
    clients = [asyncio.ensure_future(load.client(customer, model)) for _ in range(CLIENTS)]
    try:
        yield load
    finally:
        load.state = "over"
        await asyncio.gather(*clients)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateways(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Kind], Gateway]]:
    """One gateway of two workers on each store, with limits in force that nobody reaches."""
    with ExitStack() as stack:

        @cache
        def opened(kind: Kind) -> Gateway:
            env = {"WORKERS": "2", "REDIS_CONN_STRING": redis.url, **on(kind)}
            gateway = stack.enter_context(Gateway(tmp_path_factory.mktemp(kind) / "data", env))
            for option, value in LIMITS.items():
                gateway.root.set_option(option, value)
            return gateway

        yield opened


async def test_a_redis_that_stops_and_dies_under_load_costs_no_call_and_no_mill(
    gateways: Callable[[Kind], Gateway], redis: RedisServer, upstream: Upstream, record_property: Tell
) -> None:
    gateway = gateways("sqlite")
    model, customer = offered(gateway, upstream)

    async with loaded(customer, model) as load:
        for state, act in (("stopped", redis.hang), ("resumed", redis.resume), ("killed", redis.kill)):
            await asyncio.sleep(SECONDS)
            act()
            load.state = state
        await asyncio.sleep(SECONDS)

    record_property("told", f"Redis under load: {load}")
    assert set(load.statuses) == {200}
    assert max(max(took) for took in load.took_s.values()) < ANSWERS_WITHIN_S
    assert customer.spends(load.statuses[200] * PRICE_MILLS)
    assert gateway.is_proven()


@pytest.mark.parametrize("kind", cases(KINDS, ["sqlite"]))
async def test_a_projector_that_is_killed_at_random_leaves_the_read_models_that_a_replay_from_zero_makes(
    kind: Kind, gateways: Callable[[Kind], Gateway], upstream: Upstream, record_property: Tell
) -> None:
    gateway = gateways(kind)
    model, customer = offered(gateway, upstream)

    async with loaded(customer, model) as load:
        with killing_the_projector(gateway, chance("projector", kind)) as killed:
            await asyncio.sleep(2 * SECONDS)
    calls = load.statuses[200]
    logs = eventually(
        lambda: gateway.root.get("/api/log/stat", type=2, model_name=model),
        lambda found: as_int(as_object(found)["quota"]) * 1_000 == calls * PRICE_MILLS,
        within_s=20,
    )
    replay = gateway.process.run("replay", "--json", check=False)

    record_property("told", f"projector on {kind}: killed {len(killed)} times over {calls} calls, read models {logs}")
    assert set(load.statuses) == {200}
    assert customer.spends(calls * PRICE_MILLS)
    assert len(killed) > 0
    assert replay.returncode == 0, replay.stdout


def offered(gateway: Gateway, upstream: Upstream) -> tuple[str, Customer]:
    """A model and a customer that both workers know."""
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer(quota=10**9)
    bearer = {"Authorization": f"Bearer {customer.key}"}

    def listed() -> bool:
        answers = [httpx.get(f"{gateway.url}/v1/models", headers=bearer) for _ in range(12)]
        return all(answer.status_code == 200 and model in answer.text for answer in answers)

    eventually(listed, bool, within_s=10)
    return model, customer


def on(kind: Kind) -> dict[str, str]:
    if kind == "sqlite":
        return {}
    server = shared_server(tcp=True)
    address = f"postgresql://postgres@127.0.0.1:{server.port}/{server.database()}"
    return {"SQL_DSN": address, "CRYPTO_SECRET": SECRET}


def projectors(gateway: Gateway) -> list[int]:
    threads = Path(f"/proc/{gateway.process.pid}/task").glob("*/children")
    children = [int(pid) for path in threads for pid in path.read_text().split()]
    return [pid for pid in children if b"projector" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]


@contextmanager
def killing_the_projector(gateway: Gateway, draw: Random) -> Generator[list[int]]:
    """SIGKILL to whoever folds, at random moments; their pids."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(draw.uniform(0.1, 1.0)):
            with suppress(FileNotFoundError, ProcessLookupError):
                for pid in projectors(gateway):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
