"""One timer for all that a connection waits for, on a clock that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, cast

import pytest

from api.http1.deadlines import Deadlines


class Timer:
    def __init__(self, at: float, rings: Callable[[], None]) -> None:
        self.at, self.rings, self.cancelled = at, rings, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """A loop that is nothing but its clock; `timers` are all that were ever set."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, at: float, rings: Callable[[], None]) -> Timer:
        self.timers.append(Timer(at, rings))
        return self.timers[-1]

    def pass_until(self, now_s: float) -> None:
        while True:
            due = [timer for timer in self.timers if not timer.cancelled and timer.at <= now_s]
            if not due:
                break
            self.now_s = due[0].at
            due[0].cancel()
            due[0].rings()
        self.now_s = now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rung() -> list[tuple[bool, bool]]:
    return []


@pytest.fixture
def deadlines(clock: Clock, rung: list[tuple[bool, bool]]) -> Deadlines:
    loop = cast(asyncio.AbstractEventLoop, cast(Any, clock))
    return Deadlines(loop, lambda reading, writing: rung.append((reading, writing)))


def test_a_deadline_rings_once_when_its_time_is_over(
    clock: Clock, rung: list[tuple[bool, bool]], deadlines: Deadlines
) -> None:
    deadlines.read_within(5)

    clock.pass_until(104.9)
    before = list(rung)
    clock.pass_until(200)

    assert before == []
    assert rung == [(True, False)]


def test_a_deadline_that_is_moved_away_a_thousand_times_takes_one_timer(
    clock: Clock, rung: list[tuple[bool, bool]], deadlines: Deadlines
) -> None:
    for second in range(1000):
        clock.now_s = 100 + second / 1000
        deadlines.read_within(5)

    set_so_far = len(clock.timers)
    clock.pass_until(105.9)
    before = list(rung)
    clock.pass_until(106)

    assert set_so_far == 1
    assert before == []
    assert rung == [(True, False)]


def test_a_nearer_deadline_rings_before_a_farther_one(
    clock: Clock, rung: list[tuple[bool, bool]], deadlines: Deadlines
) -> None:
    deadlines.read_within(60)
    deadlines.write_within(5)

    clock.pass_until(105)
    first = list(rung)
    clock.pass_until(160)

    assert first == [(False, True)]
    assert rung == [(False, True), (True, False)]


def test_what_is_not_waited_for_any_more_does_not_ring(
    clock: Clock, rung: list[tuple[bool, bool]], deadlines: Deadlines
) -> None:
    deadlines.read_within(5)
    deadlines.read_at = inf

    clock.pass_until(200)

    assert rung == []


def test_a_cancelled_pair_never_rings(clock: Clock, rung: list[tuple[bool, bool]], deadlines: Deadlines) -> None:
    deadlines.read_within(5)
    deadlines.write_within(7)
    deadlines.cancel()

    clock.pass_until(200)

    assert rung == []
    assert all(timer.cancelled for timer in clock.timers)
