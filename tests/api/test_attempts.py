"""Counting failed logins: a limit within a window, a bounded memory, and no way around either."""

from __future__ import annotations

import threading

import pytest

from api.admin.attempts import Attempts, place
from api.admin.refusals import TooMany


class Clock:
    """A clock that is told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_an_attempt_passes_until_the_limit_and_again_when_the_first_is_old() -> None:
    clock = Clock()
    attempts = Attempts(limit=3, window_s=60, clock=clock)
    for _ in range(3):
        attempts.begin("address", "name")
        clock.now_s += 10

    with pytest.raises(TooMany) as refused:
        attempts.begin("address", "name")
    clock.now_s += refused.value.retry_after_s

    attempts.begin("address", "name")


def test_an_address_that_tries_many_names_is_counted_and_so_is_a_name_from_many_addresses() -> None:
    attempts = Attempts(limit=3)
    for n in range(3):
        attempts.begin("one address", f"name {n}")
        attempts.begin(f"address {n}", "one name")

    for names in (("one address", "fresh name"), ("fresh address", "one name")):
        with pytest.raises(TooMany):
            attempts.begin(*names)
    attempts.begin("fresh address", "fresh name")


def test_a_success_forgives_the_name_and_only_itself_at_the_address() -> None:
    attempts = Attempts(limit=3)
    for name in ("victim", "victim", "own"):
        attempts.begin("address", name)

    attempts.succeeded("address", "own")
    attempts.begin("address", "victim")

    with pytest.raises(TooMany):
        attempts.begin("address", "another")


def test_a_refused_attempt_does_not_prolong_the_wait() -> None:
    clock = Clock()
    attempts = Attempts(limit=1, window_s=60, clock=clock)
    attempts.begin("address")

    for _ in range(50):
        clock.now_s += 1
        with pytest.raises(TooMany):
            attempts.begin("address")
    clock.now_s += 10

    attempts.begin("address")


def test_only_so_many_names_are_remembered() -> None:
    attempts = Attempts(limit=1, max_names=100)

    for n in range(1000):
        attempts.begin(f"name {n}")

    assert len(attempts._failed) == 100
    with pytest.raises(TooMany):
        attempts.begin("name 999")


def test_attempts_at_once_do_not_pass_the_limit_together() -> None:
    attempts = Attempts(limit=20)
    passed: list[int] = []

    def attempt(n: int) -> None:
        try:
            attempts.begin("address")
        except TooMany:
            return
        passed.append(n)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(passed) == 20


def test_a_client_with_a_network_of_ipv6_addresses_has_one_place() -> None:
    assert place("2001:db8::1") == place("2001:db8::ffff:2") != place("2001:db8:0:1::1")
    assert place("192.0.2.1") != place("192.0.2.2")
    assert place("testclient") == "testclient"
