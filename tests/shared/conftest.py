"""A real Redis, and processes' parts in what is shared through it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack
from hashlib import sha256
from typing import Any, TypeVar

import pytest

from relay.shared import Shared
from tests.harness.redis import RedisServer

T = TypeVar("T")
PATIENT_S = 2.0
"""Where Redis is well, a machine that is busy with other tests must not make it late."""
OpenShared = Callable[..., Awaitable[Shared]]


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def open_shared(redis_server: RedisServer) -> AsyncIterator[OpenShared]:
    """Opens what a process has of its own; with `up=False` Redis need not answer."""
    opened: list[Shared] = []

    async def of(*, up: bool = True, timeout_s: float = PATIENT_S, retry_s: float = 0.1, workers: int = 1) -> Shared:
        shared = Shared(redis_server.url, digest=digest, timeout_s=timeout_s, retry_s=retry_s, workers=workers)
        opened.append(shared)
        await shared.start()
        assert not up or await shared.link.ready(5.0)
        return shared

    yield of
    for shared in opened:
        await shared.stop()


async def until(ask: Callable[[], Awaitable[bool]], within_s: float = 5.0) -> bool:
    """Whether it becomes so within the time; asked again and again."""
    end = asyncio.get_running_loop().time() + within_s
    for _ in itertools.takewhile(lambda _: asyncio.get_running_loop().time() < end, itertools.count()):
        if await ask():
            return True
        await asyncio.sleep(0.02)
    return False


def digest(purpose: str, value: str) -> str:
    """As a vault's: the same in every process of a ledger, and no way back."""
    return sha256(f"key:{purpose}:{value}".encode()).hexdigest()


class Elsewhere:
    """A process's part on a loop of its own thread, as the handlers of the API have it. `with Elsewhere(url) as shared:`."""

    def __init__(self, url: str, **terms: Any) -> None:
        self.shared = Shared(url, **{"digest": digest, "timeout_s": PATIENT_S, "retry_s": 0.1, **terms})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Shared:
        self._thread.start()
        self.run(self.shared.start())
        self.run(self.shared.link.ready(1.0))
        return self.shared

    def __exit__(self, *_: object) -> None:
        self.run(self.shared.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


@pytest.fixture
def elsewhere(redis_server: RedisServer) -> Iterator[Callable[..., Shared]]:
    """Opens what a process has of its own, on a thread; keywords are those of `Shared`."""
    with ExitStack() as stack:
        yield lambda **terms: stack.enter_context(Elsewhere(redis_server.url, **terms))
