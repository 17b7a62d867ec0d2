"""Every response carries a request id of the gateway's own making, errors too, and never the client's."""

from __future__ import annotations

import httpx
import pytest

from tests.harness import wire
from tests.harness.gateway import Gateway, chat_body
from tests.harness.upstream import Upstream

MINE = "chosen-by-the-client"


def is_ours(response: httpx.Response) -> bool:
    """True when the id is there, in both headers, and is not what the client sent."""
    found = response.headers.get("x-request-id", "")
    return bool(found) and found != MINE and response.headers.get("x-oneapi-request-id") == found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/healthz"),
        ("GET", "/api/status"),
        ("GET", "/api/user/self"),
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/no/such/path"),
        ("POST", "/v1/no/such/endpoint"),
    ],
)
def test_a_guest_gets_an_id_whatever_he_asks(gateway: Gateway, method: str, path: str) -> None:
    response = httpx.request(method, gateway.url + path, headers={"x-request-id": MINE})

    assert is_ours(response), (response.status_code, dict(response.headers))


@pytest.mark.parametrize("stream", [False, True])
def test_a_calls_id_is_ours_and_explains_it(gateway: Gateway, upstream: Upstream, stream: bool) -> None:
    model = gateway.offer(upstream.url())
    usage = wire.tokens(10, 5)
    upstream.always(wire.chat_stream(["Three"], usage) if stream else wire.chat(usage=usage), model=model)
    customer = gateway.customer()

    response = customer.post("/v1/chat/completions", chat_body(model, stream=stream), x_request_id=MINE)

    assert is_ours(response)
    assert gateway.explain(response.headers["x-request-id"])["cost_mills"] == 15_000


def test_an_upstreams_id_is_not_passed_off_as_ours(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.with_headers(wire.chat(usage=wire.tokens(1, 1)), {"x-request-id": MINE}), model=model)
    customer = gateway.customer()

    response = customer.chat(model)

    assert is_ours(response)


def test_ids_are_never_given_twice(gateway: Gateway) -> None:
    found = [httpx.get(f"{gateway.url}/healthz").headers["x-request-id"] for _ in range(20)]

    assert len(set(found)) == 20
