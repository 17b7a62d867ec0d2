"""The whole gateway on a real PostgreSQL that stops at once in mid-stream: the stream ends, the charge is there when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import wire
from tests.harness.behaviours import Gate
from tests.harness.gateway import Gateway, chat_body
from tests.harness.postgres import Server
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

USAGE = wire.tokens(100, 50)
PRICE_MILLS = 150_000


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(tcp=True) as running:
        yield running


def waiting(gateway: Gateway) -> object:
    """How many ends of calls wait, as `/readyz` says it whatever its status."""
    return httpx.get(f"{gateway.url}/readyz", timeout=10).json()["spool"]["waiting"]


def test_a_stream_outlives_its_database_and_a_kill_and_is_charged_once(
    server: Server, upstream: Upstream, tmp_path: Path
) -> None:
    dsn = f"postgresql://postgres@127.0.0.1:{server.port}/{server.database()}"
    gate = Gate()
    with Gateway(
        tmp_path / "data", {"SQL_DSN": dsn, "CRYPTO_SECRET": "the same everywhere, 32 bytes or more"}
    ) as gateway:
        model = gateway.offer(upstream.url(), ratio=1, completion=1)
        upstream.always(wire.chat_stream(["Three", " coins."], USAGE).held_before(1, gate), model=model)
        customer = gateway.customer()

        with customer.streaming(model, max_tokens=50) as response:
            upstream.wait_for_calls(1, model=model)
            server.stop(immediately=True)
            gate.open()
            lines = [line for line in response.iter_lines() if line]
        refused = httpx.post(
            f"{gateway.url}/v1/chat/completions", json=chat_body(model), headers=dict(customer.http.headers), timeout=30
        )
        kept = waiting(gateway)
        gateway.process.kill()
        server.start()
        gateway.process.start()
        gateway.login()

        assert lines[-1] == "data: [DONE]"
        assert (refused.status_code, kept) == (503, 1)
        assert len(upstream.calls(model=model)) == 1
        assert eventually(lambda: waiting(gateway), lambda count: count == 0) == 0
        statement = gateway.statement(customer.user_id)
        assert [line["what"] for line in statement][-2:] == ["held", "settled"]
        assert statement[-1]["balance_mills"] == customer.opening_mills - PRICE_MILLS
        assert gateway.is_proven()
