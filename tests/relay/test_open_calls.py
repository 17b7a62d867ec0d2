"""One timer looks after all open calls: waits end when their time is over, and clients are watched once their call is slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from relay.call import SLOW_AFTER_S, Call, Credential
from relay.errors import Interrupted
from relay.open_calls import TICK_S, OpenCalls

LATE_S = 1.0
"""How late a busy machine may make it."""


def call() -> Call:
    return Call(endpoint="chat", body=b"", credential=Credential(""))


async def waited(calls: OpenCalls, one: Call, upstream: asyncio.Event) -> str:
    """Why the wait ended; "" when upstream answered."""
    calls.add(one)
    try:
        await one.wait(upstream.wait())
    except Interrupted as error:
        return error.why
    finally:
        calls.discard(one)
    return ""


@pytest.mark.parametrize("phase", ["connect", "first_byte", "idle"])
async def test_a_wait_ends_when_its_phase_has_lasted_too_long(phase: str) -> None:
    one, began = call(), time.monotonic()
    one.patience(phase, 0.1)

    why = await waited(OpenCalls(), one, asyncio.Event())

    assert why == f"{phase}_timeout"
    assert 0.1 <= time.monotonic() - began < 0.1 + TICK_S + LATE_S


async def test_what_upstream_says_begins_the_gap_anew_but_not_the_whole() -> None:
    one, calls = call(), OpenCalls()
    one.lasts_at_most(0.4)
    one.patience("idle", 0.15)
    task = asyncio.create_task(waited(calls, one, asyncio.Event()))
    began = time.monotonic()
    while not task.done():
        one.heard()
        await asyncio.sleep(0.02)

    assert await task == "total_timeout"
    assert time.monotonic() - began >= 0.3


async def test_a_shorter_patience_counts_at_once() -> None:
    one, began = call(), time.monotonic()
    one.patience("first_byte", 60)
    one.patience("tail", 0.1)

    assert await waited(OpenCalls(), one, asyncio.Event()) == "tail"
    assert time.monotonic() - began < 5


async def test_an_answer_in_time_is_not_interrupted() -> None:
    one, calls, upstream = call(), OpenCalls(), asyncio.Event()
    one.patience("connect", 0.2)
    asyncio.get_running_loop().call_later(0.1, upstream.set)

    assert await waited(calls, one, upstream) == ""
    await asyncio.sleep(0.2)
    assert not one.was_interrupted()


class Seen:
    """A client that says when it is watched, and is seen to leave at once."""

    def __init__(self, name: str, begun: list[str]) -> None:
        self._name = name
        self._begun = begun

    def watch(self, left: Callable[[], None]) -> None:
        self._begun.append(self._name)
        left()


async def test_a_client_is_watched_once_its_call_is_slow_and_never_for_a_quick_one() -> None:
    calls, begun = OpenCalls(), list[str]()
    quick, slow = call(), call()
    quick.client, slow.client = Seen("quick", begun), Seen("slow", begun)
    for one in (quick, slow):
        one.patience("connect", 60)
        calls.add(one)
    calls.discard(quick)

    await asyncio.sleep(SLOW_AFTER_S + 4 * TICK_S)

    assert begun == ["slow"]
    assert (quick.why, slow.why) == ("", "client_left")


async def test_a_timer_runs_only_while_a_call_is_open() -> None:
    calls, one = OpenCalls(), call()
    one.patience("connect", 60)
    before = len(asyncio.all_tasks())
    calls.add(one)
    calls.discard(one)

    await asyncio.sleep(3 * TICK_S)

    assert len(calls) == 0
    assert calls._timer is None
    assert len(asyncio.all_tasks()) == before


async def test_calls_that_end_while_others_are_told_do_not_disturb_them() -> None:
    calls = OpenCalls()
    ones = [call() for _ in range(50)]
    for one in ones:
        one.patience("idle", 0.1)

    reasons = await asyncio.gather(*(waited(calls, one, asyncio.Event()) for one in ones))

    assert reasons == ["idle_timeout"] * 50
    assert len(calls) == 0
