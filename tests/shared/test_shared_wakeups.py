"""What one process commits wakes the others: soon through Redis, and by their poll without it."""

from __future__ import annotations

import asyncio
import time

from relay.shared import Shared
from tests.harness.redis import RedisServer
from tests.shared.conftest import OpenShared, until

SOON_S = 0.25
"""Alone on a machine it is about a millisecond."""


class Ear:
    """Counts what it hears."""

    def __init__(self, shared: Shared) -> None:
        self.count = 0
        shared.wakeups.when_heard(self)

    def __call__(self) -> None:
        self.count += 1

    async def hears_more_than(self, before: int, within_s: float) -> bool:
        async def more() -> bool:
            return self.count > before

        return await until(more, within_s)


async def listening(shared: Shared, server: RedisServer) -> Ear:
    """An ear that hears already, and has heard what there was to hear."""
    ear, channel = Ear(shared), shared.link.key("wake", "committed")

    async def hears() -> bool:
        with server.client() as client:
            client.publish(channel, "is anybody there")
        return ear.count > 0

    assert await until(hears)
    await asyncio.sleep(0.1)
    return ear


async def test_a_commit_is_heard_by_the_other_process_and_not_by_its_own(
    open_shared: OpenShared, redis_server: RedisServer
) -> None:
    here, there = [await open_shared() for _ in range(2)]
    own, other = await listening(here, redis_server), await listening(there, redis_server)
    before, own_before = other.count, own.count

    began = time.monotonic()
    here.wakeups.committed()

    assert await other.hears_more_than(before, 5.0)
    assert time.monotonic() - began < SOON_S
    assert own.count == own_before


async def test_many_commits_are_a_few_wake_ups_and_the_last_is_heard(
    open_shared: OpenShared, redis_server: RedisServer
) -> None:
    here, there = [await open_shared() for _ in range(2)]
    ear = await listening(there, redis_server)
    before = ear.count

    began = time.monotonic()
    while time.monotonic() - began < 0.3:
        here.wakeups.committed()
        await asyncio.sleep(0)
    last = ear.count
    here.wakeups.committed()
    assert await ear.hears_more_than(last, 5.0)

    assert ear.count - before <= 2 * 0.6 / 0.02


async def test_a_flood_of_invented_wake_ups_is_a_few_looks(open_shared: OpenShared, redis_server: RedisServer) -> None:
    shared = await open_shared()
    ear = await listening(shared, redis_server)
    before, channel = ear.count, shared.link.key("wake", "committed")

    began = time.monotonic()
    with redis_server.client() as client:
        for _ in range(300):
            client.publish(channel, "x" * 1000)
            await asyncio.sleep(0.001)
    assert await ear.hears_more_than(before, 5.0)
    await asyncio.sleep(0.1)

    assert ear.count - before <= 2 + 2 * (time.monotonic() - began) / 0.02


async def test_wake_ups_come_back_with_redis(open_shared: OpenShared, redis_server: RedisServer) -> None:
    here, there = [await open_shared() for _ in range(2)]
    ear = await listening(there, redis_server)
    redis_server.kill()
    here.wakeups.committed()
    redis_server.start()

    before = ear.count
    assert await ear.hears_more_than(before, 5.0)
    await asyncio.sleep(0.1)

    before = ear.count
    here.wakeups.committed()
    assert await ear.hears_more_than(before, 5.0)


async def test_a_commit_without_redis_is_no_error_and_wakes_nobody() -> None:
    alone = Shared()
    ear = Ear(alone)

    alone.wakeups.committed()

    assert ear.count == 0
