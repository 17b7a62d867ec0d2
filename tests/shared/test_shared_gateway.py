"""The real gateway beside a Redis that is not there, comes, and goes."""

from __future__ import annotations

from tests.conftest import OpenGateway
from tests.harness.gateway import Customer, Gateway
from tests.harness.redis import RedisServer
from tests.harness.waiting import eventually

LIMIT = 6


def statuses(gateway: Gateway, customer: Customer, calls: int) -> list[int]:
    return [customer.chat(gateway.sandbox_model, max_tokens=1).status_code for _ in range(calls)]


def test_redis_is_not_there_comes_and_goes_and_calls_go_on(
    open_gateway: OpenGateway, redis_server: RedisServer
) -> None:
    redis_server.kill()
    gateway = open_gateway({"REDIS_CONN_STRING": redis_server.url, "REDIS_RETRY_MS": "50", "REDIS_TIMEOUT_MS": "2000"})
    gateway.root.set_option("ModelRequestRateLimitSuccessCount", str(LIMIT))
    gateway.root.set_option("ModelRequestRateLimitEnabled", "true")
    first, second = gateway.customer(), gateway.customer()

    without = statuses(gateway, first, 2)
    redis_server.start()
    with redis_server.client() as client:
        eventually(lambda: client.exists(*client.scan_iter("veloera:*:nodes:*"), "none"), bool)
        there = statuses(gateway, first, LIMIT)
        windows = list(client.scan_iter("veloera:*:w:*"))
    redis_server.kill()
    after = statuses(gateway, second, LIMIT + 1)

    assert without == [200, 200]
    assert there == [200] * (LIMIT - 2) + [429] * 2
    assert len(windows) == 1
    assert after == [200] * LIMIT + [429]
    assert gateway.process.stop() == 0
    log = gateway.process.log_path.read_text()
    assert "redis_does_not_answer" in log
    assert "redis_lost" in log
    assert "Traceback" not in log
