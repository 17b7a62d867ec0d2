"""Failed logins that several processes count together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api.admin.attempts import Attempts
from api.admin.refusals import TooMany
from relay.shared import Shared
from tests.harness.redis import RedisServer
from tests.harness.waiting import eventually

Open = Callable[..., Shared]


def passed(attempts: Attempts, count: int, *names: str) -> int:
    """How many of so many attempts were let pass."""
    total = 0
    for _ in range(count):
        try:
            attempts.begin(*names)
        except TooMany:
            continue
        total += 1
    return total


def test_two_processes_let_twenty_pass_together(elsewhere: Open) -> None:
    here, there = [Attempts(shared=elsewhere()) for _ in range(2)]

    total = sum(passed(one, 1, "an address", "a name") for _ in range(30) for one in (here, there))

    assert total == 20
    with pytest.raises(TooMany) as refused:
        there.begin("an address", "another name")
    assert 1 <= refused.value.retry_after_s <= 1220


def test_a_refused_attempt_counts_for_neither_of_its_names(elsewhere: Open) -> None:
    here, there = [Attempts(limit=3, shared=elsewhere()) for _ in range(2)]
    passed(here, 3, "one address")

    assert passed(there, 5, "one address", "a name") == 0

    assert passed(there, 5, "other address", "a name") == 3


def test_a_success_forgives_the_name_everywhere_and_only_itself_at_the_address(
    elsewhere: Open, redis_server: RedisServer
) -> None:
    here, there = [Attempts(limit=4, shared=elsewhere()) for _ in range(2)]
    passed(here, 3, "address", "name")

    here.begin("address", "name")
    here.succeeded("address", "name")
    # Nobody waits until Redis has heard of it: both windows are there until then.
    with redis_server.client() as client:
        eventually(lambda: len(list(client.scan_iter("veloera:*:a:*"))), lambda keys: keys == 1)

    assert passed(there, 5, "elsewhere", "name") == 4
    assert passed(there, 5, "address", "fresh") == 1


def test_without_redis_each_process_has_its_share(elsewhere: Open, redis_server: RedisServer) -> None:
    attempts = Attempts(shared=elsewhere(workers=4, retry_s=5.0))
    redis_server.kill()

    assert passed(attempts, 30, "address") == 5


def test_a_redis_that_hangs_shuts_nobody_out_and_lets_nobody_pass_the_limit(
    elsewhere: Open, redis_server: RedisServer
) -> None:
    attempts = Attempts(shared=elsewhere(retry_s=5.0, timeout_s=0.25))
    assert passed(attempts, 3, "address") == 3
    redis_server.hang()

    assert passed(attempts, 30, "address") == 17
    redis_server.resume()


def test_what_others_put_under_our_keys_stops_nobody(elsewhere: Open, redis_server: RedisServer) -> None:
    shared = elsewhere()
    attempts = Attempts(shared=shared)
    key = shared.link.key("a", shared.named("address"))
    with redis_server.client() as client:
        client.set(key, "1000000")
        assert passed(attempts, 1, "address") == 1
        client.hset(key, mapping={"99999999": "7000000", "1": "-5", "x": "y"})

    assert passed(attempts, 30, "address") == 19


def test_redis_learns_no_name_and_no_address(elsewhere: Open, redis_server: RedisServer, tmp_path: Path) -> None:
    attempts = Attempts(shared=elsewhere())
    passed(attempts, 2, "address 192.0.2.77", "name somebody@example.com")

    with redis_server.client() as client:
        written = str([(key, client.type(key), client.ttl(key)) for key in client.scan_iter("*")])

    assert "veloera:" in written
    assert "192.0.2" not in written
    assert "somebody" not in written
