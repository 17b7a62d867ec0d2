"""One limit for several processes: exact through Redis, bounded without it, and never waited for."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from relay.shared import Shared
from relay.shared_scripts import TAKE
from relay.shared_windows import MAX_LEASE, SharedWindows
from relay.windows import BUCKETS
from tests.harness.redis import RedisServer
from tests.shared.conftest import OpenShared, digest, until
from tests.shared.liar import Lie, lying, reply

LIMIT = 100
WINDOW_S = 60.0
TIMEOUT_S = 0.25


async def tries(windows: SharedWindows, count: int, name: str = "requests:7", limit: int = LIMIT) -> int:
    """How many of so many calls, one after the other, were granted."""
    return sum([(await windows.take(name, limit=limit, window_s=WINDOW_S)).granted for _ in range(count)])


async def tries_by_turns(windows: list[SharedWindows], count: int) -> int:
    return sum([await tries(one, 1) for _ in range(count) for one in windows])


async def two(open_shared: OpenShared, **terms: float) -> list[Shared]:
    """Two processes that know of each other."""
    both = [await open_shared(**terms), await open_shared(**terms)]
    for one in (*both, both[0]):
        await one.nodes.beat()
    return both


def asked(server: RedisServer) -> int:
    """How many scripts Redis has run."""
    with server.client() as client:
        stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


@pytest.mark.parametrize("limit", [1, 2, 7, 100, 1000])
async def test_two_processes_that_ask_by_turns_grant_exactly_the_limit(open_shared: OpenShared, limit: int) -> None:
    one, other = [(await open_shared()).windows for _ in range(2)]

    granted = [await tries(windows, 1, limit=limit) for _ in range(limit + 10) for windows in (one, other)]

    assert sum(granted) == limit


async def test_many_calls_at_once_in_four_processes_grant_no_more_than_the_limit(open_shared: OpenShared) -> None:
    processes = [await open_shared() for _ in range(4)]
    calls = (one.windows.take("u", limit=LIMIT, window_s=WINDOW_S) for _ in range(100) for one in processes)

    granted = sum(taken.granted for taken in await asyncio.gather(*calls))

    assert LIMIT / 2 < granted <= LIMIT


async def test_no_stretch_as_long_as_the_window_has_more_than_the_limit(open_shared: OpenShared) -> None:
    processes = [await open_shared() for _ in range(2)]
    window_s, granted = 0.6, list[float]()
    end = time.monotonic() + 4 * window_s

    async def calls(windows: SharedWindows) -> None:
        while time.monotonic() < end:
            before = time.monotonic()
            taken = await windows.take("u", limit=20, window_s=window_s)
            # Between the two clock readings it was granted; the later one makes a stretch look shorter at its beginning.
            granted.extend([before] if taken.granted else [])
            await asyncio.sleep(0.001)

    await asyncio.gather(*(calls(one.windows) for one in processes))

    at = sorted(granted)
    assert len(at) >= 60
    assert all(later - earlier >= window_s - 0.02 for earlier, later in zip(at, at[20:], strict=False))


async def test_a_window_is_one_names_alone(open_shared: OpenShared) -> None:
    one = (await open_shared()).windows

    assert await tries(one, LIMIT + 1, "u") == LIMIT
    assert await tries(one, 1, "v") == 1


async def test_who_is_refused_is_told_when_there_is_a_place(open_shared: OpenShared) -> None:
    one, other = [(await open_shared()).windows for _ in range(2)]
    await one.take("u", limit=1, window_s=0.6)

    refused = await other.take("u", limit=1, window_s=0.6)
    await asyncio.sleep(refused.retry_after_s)

    assert not refused.granted
    assert refused.retry_after_s <= 0.6 * (BUCKETS + 2) / BUCKETS
    assert (await other.take("u", limit=1, window_s=0.6)).granted


async def test_a_busy_caller_seldom_needs_a_round_trip(open_shared: OpenShared, redis_server: RedisServer) -> None:
    one = await open_shared()
    before = asked(redis_server)

    assert await tries(one.windows, 2_000, limit=100_000) == 2_000

    assert asked(redis_server) - before < 3 * 2_000 / MAX_LEASE


async def test_what_was_leased_and_not_used_is_there_for_others_soon(open_shared: OpenShared) -> None:
    one, other = await two(open_shared)
    # 1 + 2 + 4 + 8 places, and then a lease of which most is left.
    assert await tries(one.windows, 16) == 16

    granted, deadline = 0, time.monotonic() + 10.0
    while granted < LIMIT - 16 and time.monotonic() < deadline:
        granted += await tries(other.windows, LIMIT - 16 - granted)
        await asyncio.sleep(0.1)

    assert granted == LIMIT - 16
    assert await tries_by_turns([one.windows, other.windows], 5) == 0


async def test_a_place_that_a_failure_gave_back_is_there_for_others(open_shared: OpenShared) -> None:
    one, other = [(await open_shared()).windows for _ in range(2)]
    taken = await one.take("u", limit=1, window_s=WINDOW_S)
    one.give_back("u", taken)

    async def granted() -> bool:
        return (await other.take("u", limit=1, window_s=WINDOW_S)).granted

    assert await until(granted)
    assert not (await one.take("u", limit=1, window_s=WINDOW_S)).granted


async def test_a_redis_that_hangs_is_waited_for_once(open_shared: OpenShared, redis_server: RedisServer) -> None:
    one, _ = await two(open_shared, retry_s=5.0, timeout_s=TIMEOUT_S)
    redis_server.hang()

    began = time.monotonic()
    await tries(one.windows, 1)
    first_s = time.monotonic() - began
    granted = await tries(one.windows, 500)
    rest_s = time.monotonic() - began - first_s

    redis_server.resume()
    assert TIMEOUT_S <= first_s < 2 * TIMEOUT_S
    assert rest_s < TIMEOUT_S
    assert granted == LIMIT / 2 - 1


async def test_a_redis_that_hung_is_asked_again(open_shared: OpenShared, redis_server: RedisServer) -> None:
    one = await open_shared(timeout_s=TIMEOUT_S)
    redis_server.hang()
    await tries(one.windows, 1)
    assert one.standing.redis == "away"

    redis_server.resume()

    assert await one.link.ready(5.0)
    before = asked(redis_server)
    await tries(one.windows, 1, "another")
    assert asked(redis_server) > before


async def test_without_redis_each_process_grants_its_share(open_shared: OpenShared, redis_server: RedisServer) -> None:
    processes = await two(open_shared)
    redis_server.kill()

    granted = [await tries(one.windows, LIMIT) for one in processes]

    assert granted == [LIMIT // 2, LIMIT // 2]


async def test_a_loss_lets_pass_one_share_of_each_other_process_more(
    open_shared: OpenShared, redis_server: RedisServer
) -> None:
    one, other = await two(open_shared)
    before = await tries(one.windows, LIMIT)
    redis_server.kill()

    after = await tries_by_turns([one.windows, other.windows], LIMIT)

    assert before == LIMIT
    assert after == LIMIT // 2


async def test_what_was_counted_alone_is_told_to_a_redis_that_is_back(
    open_shared: OpenShared, redis_server: RedisServer
) -> None:
    one, other = await two(open_shared, timeout_s=TIMEOUT_S)
    redis_server.hang()
    assert await tries(one.windows, LIMIT) == LIMIT // 2
    redis_server.resume()
    for process in (one, other):
        assert await process.link.ready(5.0)
    await tries(one.windows, 1)

    granted = await tries(other.windows, LIMIT)

    assert granted <= LIMIT // 2


async def test_a_redis_that_comes_back_empty_is_told_what_each_process_counted(
    open_shared: OpenShared, redis_server: RedisServer
) -> None:
    one, silent = await two(open_shared)
    assert await tries(silent.windows, LIMIT) == LIMIT
    redis_server.kill()
    redis_server.start()

    async def is_told() -> bool:
        with redis_server.client() as client:
            return [await one.link.ready(5.0), *client.scan_iter("veloera:*:w:*")] > [True]

    assert await until(is_told)
    assert await tries(one.windows, LIMIT) <= 1


async def test_a_redis_that_was_emptied_is_told_what_each_process_counted(
    open_shared: OpenShared, redis_server: RedisServer
) -> None:
    one, other = [(await open_shared()).windows for _ in range(2)]
    before = await tries(one, 64) + await tries(other, LIMIT)
    with redis_server.client() as client:
        client.flushall()

    after = await tries_by_turns([one, other], LIMIT)

    assert before <= LIMIT
    # Each tells when it has used up what it had leased, all together half a limit at most.
    assert before + after <= LIMIT + LIMIT // 2


PLANTED = {
    "a text": lambda client, key, part: client.set(key, "500"),
    "a list": lambda client, key, part: client.lpush(key, "1"),
    "nonsense": lambda client, key, part: client.hset(key, mapping={"g": "x" * 500, "a": "b", str(part): "c"}),
    "less than nothing": lambda client, key, part: client.hset(key, mapping={str(part): "-1000000"}),
    "too much": lambda client, key, part: client.hset(key, mapping={str(part): "9223372036854775807"}),
    "infinity": lambda client, key, part: client.hset(key, mapping={str(part): "inf", str(part - 1): "nan"}),
    "halves": lambda client, key, part: client.hset(key, mapping={str(part): "99.5"}),
    "the past": lambda client, key, part: client.hset(key, mapping={str(part - 100): "100"}),
    "the future": lambda client, key, part: client.hset(key, mapping={str(part + 5): "100"}),
    "a million parts": lambda client, key, part: client.hset(key, mapping={str(n): "1" for n in range(10_000)}),
}


@pytest.mark.parametrize("what", PLANTED)
async def test_what_others_put_under_our_keys_stops_nobody_and_lets_nobody_pass_the_limit(
    open_shared: OpenShared, redis_server: RedisServer, what: str
) -> None:
    one, other = [(await open_shared()).windows for _ in range(2)]
    await tries(one, 1)
    with redis_server.client() as client:
        (key,) = client.scan_iter("veloera:*:w:*")
        client.delete(key)
        PLANTED[what](client, key, int(time.time()))

    granted = await tries_by_turns([one, other], LIMIT)

    assert LIMIT - 2 <= granted <= LIMIT + 1


LIES: dict[str, Lie] = {
    "nothing": lambda command: b"$-1\r\n",
    "a number": lambda command: b":7\r\n",
    "an error": lambda command: b"-ERR no\r\n",
    "too few": lambda command: reply(b"x", 1),
    "no protocol": lambda command: b"HTTP/1.1 200 OK\r\n\r\n",
    "half an answer": lambda command: b"*6\r\n$16\r\n",
    "the end": lambda command: b"",
    "more than was asked": lambda command: reply(nonce(command), b"f" * 16, 1_000_000, now_s(), 0, now_s() * 1000),
    "less than nothing": lambda command: reply(nonce(command), b"f" * 16, -7, now_s(), 0, now_s() * 1000),
    "an answer to another": lambda command: reply(b"0" * 16, b"f" * 16, 1, now_s(), 0, now_s() * 1000),
    "full since long ago": lambda command: reply(nonce(command), b"f" * 16, 0, 1000, 9000, 1_000_000),
    "full for ever": lambda command: reply(nonce(command), b"f" * 16, 0, now_s(), 2**62, now_s() * 1000),
    "another each time": lambda command: reply(nonce(command), nonce(command), -1, now_s(), 0, now_s() * 1000),
}


@pytest.mark.parametrize("what", LIES)
async def test_an_answer_that_cannot_be_counts_as_none(tmp_path: Path, what: str) -> None:
    async with lying(tmp_path, TAKE, LIES[what]) as url, running(url, workers=2) as shared:
        began = time.monotonic()
        granted = await tries(shared.windows, 2 * LIMIT)

        assert granted == LIMIT // 2
        assert time.monotonic() - began < 2.0


async def test_whatever_redis_says_no_process_grants_more_than_the_limit(tmp_path: Path) -> None:
    def generous(command: list[bytes]) -> bytes:
        return reply(nonce(command), b"f" * 16, int(command[6]), now_s(), 0, now_s() * 1000)

    async with lying(tmp_path, TAKE, generous) as url, running(url) as shared:
        assert await tries(shared.windows, 5 * LIMIT) == LIMIT


async def test_only_so_many_windows_are_remembered(open_shared: OpenShared, redis_server: RedisServer) -> None:
    link = (await open_shared()).link
    windows = SharedWindows(link, named=digest_of, max_remembered=10)
    for n in range(50):
        taken = await windows.take(f"u{n}", limit=5, window_s=WINDOW_S)
        windows.give_back(f"u{n}", taken)

    assert len(windows._slots) == 10
    assert len(windows._unsettled) <= 10


async def test_redis_forgets_what_is_over(open_shared: OpenShared, redis_server: RedisServer) -> None:
    one = (await open_shared()).windows
    await tries(one, 3)

    with redis_server.client() as client:
        lives_ms = [client.pttl(key) for key in client.scan_iter("veloera:*")]

    assert all(0 < life_ms <= 64_000 for life_ms in lives_ms)


def nonce(command: list[bytes]) -> bytes:
    """What our script is to repeat: the first argument after name, number of keys and key."""
    return command[4]


def now_s() -> int:
    return int(time.time())


def digest_of(name: str) -> str:
    return digest("shared", name)


class running:  # noqa: N801  # reads as a word
    """A process's part, started on a URL."""

    def __init__(self, url: str, workers: int = 1) -> None:
        self._shared = Shared(url, digest=digest, timeout_s=TIMEOUT_S, retry_s=0.1, workers=workers)

    async def __aenter__(self) -> Shared:
        await self._shared.start()
        assert await self._shared.link.ready(5.0)
        return self._shared

    async def __aexit__(self, *_: object) -> None:
        await self._shared.stop()
