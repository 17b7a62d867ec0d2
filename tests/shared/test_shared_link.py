"""The way to Redis: who asks has an answer within the timeout, or does without at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from relay.shared import Shared
from relay.shared_link import MAX_WAITING, Away, Link
from tests.harness.redis import RedisServer
from tests.shared.conftest import OpenShared, until


async def test_without_a_url_there_is_no_redis_and_nothing_to_wait_for() -> None:
    shared = Shared()

    await shared.start()

    assert shared.standing == ("none", 1)
    with pytest.raises(Away):
        await shared.link.ask("PING")
    await shared.stop()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere/at/all", "rediss://127.0.0.1:1/0"])
async def test_a_redis_that_is_not_there_keeps_nobody_from_starting(url: str) -> None:
    shared = Shared(url, workers=3)
    began = time.monotonic()

    await shared.start()

    assert time.monotonic() - began < 1.0
    assert shared.standing == ("away", 3)
    await shared.stop()


async def test_what_is_no_url_is_said_at_the_start() -> None:
    with pytest.raises(ValueError, match="URL"):
        await Link("nonsense").start()


async def test_a_redis_that_comes_later_is_found(open_shared: OpenShared, redis_server: RedisServer) -> None:
    redis_server.kill()
    shared = await open_shared(up=False)
    assert shared.standing.redis == "away"

    redis_server.start()

    assert await shared.link.ready(5.0)
    assert await shared.link.ask("ECHO", "here") == b"here"


async def test_only_so_many_wait_at_once(open_shared: OpenShared, redis_server: RedisServer) -> None:
    link = (await open_shared(timeout_s=0.25)).link
    redis_server.hang()

    async def asks() -> float:
        began = time.monotonic()
        with pytest.raises(Away):
            await link.ask("ECHO", "x")
        return time.monotonic() - began

    waits_s = sorted(await asyncio.gather(*(asks() for _ in range(200))))

    redis_server.resume()
    assert sum(wait_s < link.timeout_s / 2 for wait_s in waits_s) >= 200 - MAX_WAITING
    assert waits_s[-1] < 2 * link.timeout_s


async def test_whose_caller_leaves_costs_the_others_nothing(open_shared: OpenShared) -> None:
    link = (await open_shared()).link

    for n in range(100):
        leaving = asyncio.create_task(link.ask("ECHO", f"left {n}"))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await link.ask("ECHO", f"stays {n}") == b"stays %d" % n

    assert link.is_up


async def test_errors_that_redis_answers_with_are_passed_over_until_there_are_many(open_shared: OpenShared) -> None:
    link = (await open_shared(retry_s=5.0)).link
    with pytest.raises(Away):
        await link.ask("NONSENSE")
    assert link.is_up

    for _ in range(10):
        with pytest.raises(Away):
            await link.ask("NONSENSE")

    assert not link.is_up


async def test_processes_count_each_other_and_forget_who_left(open_shared: OpenShared) -> None:
    first, second = [await open_shared() for _ in range(2)]

    async def seen_by_first(count: int) -> bool:
        await first.nodes.beat()
        return first.nodes.count == count

    assert await until(lambda: seen_by_first(2))
    await second.stop()
    assert await until(lambda: seen_by_first(1))


async def test_the_last_count_stays_known_while_redis_is_away(
    open_shared: OpenShared, redis_server: RedisServer
) -> None:
    first, *_ = [await open_shared() for _ in range(3)]
    await asyncio.sleep(0.05)
    await first.nodes.beat()

    redis_server.kill()
    with pytest.raises(Away):
        await first.nodes.beat()

    assert first.nodes.count == 3


async def test_a_count_that_cannot_be_is_not_believed(open_shared: OpenShared, redis_server: RedisServer) -> None:
    shared = await open_shared(workers=2)
    with redis_server.client() as client:
        key = shared.link.key("nodes", "all")
        client.zadd(key, {f"invented {n}": time.time() * 1000 for n in range(1_000)})

    with pytest.raises(Away):
        await shared.nodes.beat()

    assert shared.nodes.count == 2
    with redis_server.client() as client:
        client.set(key, "of another kind")
    await shared.nodes.beat()
    assert shared.nodes.count == 2


def test_a_thread_has_its_answer_and_none_when_redis_hangs(
    elsewhere: Callable[..., Shared], redis_server: RedisServer
) -> None:
    link = elsewhere(timeout_s=0.25).link
    assert link.wait_for(link.ask("ECHO", "here")) == b"here"

    redis_server.hang()
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(Away):
            link.wait_for(link.ask("ECHO", "here"))

    assert time.monotonic() - began < 3 * link.timeout_s
    redis_server.resume()
