"""Bad input gets a clear error in OpenAI's shape, costs nothing, reaches no upstream and hangs nobody."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.harness import wire
from tests.harness.gateway import Customer, Gateway, chat_body
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

CHAT = "/v1/chat/completions"
MODEL = "MODEL"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that takes bodies of up to 100 KiB."""
    with Gateway(tmp_path_factory.mktemp("narrow") / "data", {"MAX_REQUEST_BODY_MB": "0.1"}) as running:
        yield running


def is_a_clear_error(response: httpx.Response) -> bool:
    """True for OpenAI's error shape with a message that says something."""
    error = response.json().get("error", {})
    return isinstance(error.get("message"), str) and len(error["message"]) > 5 and "type" in error


@contextmanager
def free_of_charge(customer: Customer, upstream: Upstream, model: str) -> Generator[None]:
    """Claims that what happens inside costs nothing and reaches no upstream."""
    yield
    assert upstream.calls(model=model) == []
    assert customer.spent_mills() == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"not json",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe{}",
        b'{"model": "MODEL", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "MODEL", "messages": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"model": "MODEL"}',
        b'{"messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "MODEL", "messages": [{"role": "user", "content": "x"}], "max_tokens": NaN}',
    ],
    ids=["nothing", "half", "words", "list", "text", "null", "not UTF-8", "not UTF-8 inside", "deep", "no messages",
         "no model", "NaN"],
)  # fmt: skip
def test_a_body_that_is_no_chat_request_is_a_400(gateway: Gateway, upstream: Upstream, raw: bytes) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer()

    with free_of_charge(customer, upstream, model):
        body = raw.replace(MODEL.encode(), model.encode())
        response = customer.http.post(CHAT, content=body, headers={"content-type": "application/json"})

    assert response.status_code == 400, response.text
    assert is_a_clear_error(response)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": "x"},
        {"messages": []},
        {"messages": None},
        {"model": 5},
        {"model": ""},
        {"model": None},
        {"stream": "yes"},
        {"max_tokens": "many"},
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": 2_000_000_000},
        {"max_tokens": 10**30},
        {"max_completion_tokens": -5},
        {"n": 0},
        {"n": -1},
        {"n": 129},
        {"n": "two"},
        {"stream": True, "stream_options": "yes"},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_kind_is_a_400(gateway: Gateway, upstream: Upstream, fields: dict[str, object]) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer()

    with free_of_charge(customer, upstream, model):
        response = customer.post(CHAT, {**chat_body(model), **fields})

    assert response.status_code == 400, response.text
    assert is_a_clear_error(response)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": None}),
        ("/v1/completions", {"prompt": ""}),
        ("/v1/completions", {"prompt": {"a": 1}}),
        ("/v1/completions", {"prompt": "x", "best_of": 1000}),
        ("/v1/embeddings", {}),
        ("/v1/embeddings", {"input": None}),
        ("/v1/embeddings", {"input": {"a": 1}}),
    ],
    ids=str,
)
def test_the_other_endpoints_refuse_bad_fields_too(
    gateway: Gateway, upstream: Upstream, path: str, body: dict[str, object]
) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer()

    with free_of_charge(customer, upstream, model):
        response = customer.post(path, {"model": model, **body})

    assert response.status_code == 400, response.text
    assert is_a_clear_error(response)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": ["x"]}),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}),
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "temperature": "warm"}),
        ("/v1/embeddings", {"input": [[1.5]]}),
    ],
    ids=str,
)
def test_what_only_the_vendor_can_judge_is_left_to_the_vendor(
    gateway: Gateway, upstream: Upstream, path: str, body: dict[str, object]
) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.failure(400, "not like this", kind="invalid_request_error"), model=model)
    customer = gateway.customer()

    response = customer.post(path, {"model": model, **body})

    assert response.status_code == 400
    assert "not like this" in response.json()["error"]["message"]
    assert customer.spent_mills() == 0


def test_fields_we_do_not_know_are_passed_on(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.chat(usage=wire.tokens(1, 1)), model=model)
    customer = gateway.customer()

    customer.chat(model, temperature=0, service_tier="flex", invented={"a": [1, None]})

    sent = upstream.calls(model=model)[0].json()
    assert (sent["temperature"], sent["service_tier"], sent["invented"]) == (0, "flex", {"a": [1, None]})


@pytest.mark.parametrize("declared", [True, False], ids=["with a length", "in chunks"])
def test_a_huge_body_is_a_413(narrow: Gateway, upstream: Upstream, declared: bool) -> None:
    model = narrow.offer(upstream.url())
    customer = narrow.customer()
    body = b'{"model": "%s", "messages": [{"role": "user", "content": "%s"}]}' % (model.encode(), b"x" * 300_000)
    pieces = iter([body[at : at + 50_000] for at in range(0, len(body), 50_000)])

    with free_of_charge(customer, upstream, model):
        headers = {"content-type": "application/json"}
        response = customer.http.post(CHAT, content=body if declared else pieces, headers=headers)

    assert response.status_code == 413
    assert is_a_clear_error(response)


def test_a_model_that_nobody_serves_is_a_404_in_openais_words(gateway: Gateway, upstream: Upstream) -> None:
    customer = gateway.customer()

    response = customer.chat("no-such-model")

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (404, "model_not_found", "invalid_request_error")
    assert "no-such-model" in error["message"]


def test_a_model_without_a_price_is_a_clear_error(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.name("unpriced")
    gateway.root.make_channel(upstream.url(), model)
    gateway.wait_directory()
    customer = gateway.customer()

    with free_of_charge(customer, upstream, model):
        response = customer.chat(model)

    assert response.status_code >= 400
    assert response.json()["error"]["code"] == "model_price_error"
    assert model in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sk-nobody"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": "Bearer sk-\xe9"},
    ],
    ids=["none", "unknown", "empty", "basic", "long", "odd"],
)
def test_a_call_without_a_good_key_is_a_401(gateway: Gateway, headers: dict[str, str]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}

    response = httpx.post(gateway.url + CHAT, json=chat_body("m"), headers=list(raw.items()))  # type: ignore[arg-type]

    assert response.status_code == 401
    assert is_a_clear_error(response)


def test_an_expired_key_is_a_401(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer()
    made = customer.session.make_key(name="old", expired_time=int(time.time()) - 60)

    with free_of_charge(customer, upstream, model):
        bearer = {"Authorization": f"Bearer sk-{str(made['key']).removeprefix('sk-')}"}
        response = httpx.post(gateway.url + CHAT, json=chat_body(model), headers=bearer)

    assert response.status_code == 401
    assert is_a_clear_error(response)


def test_a_key_that_is_switched_off_is_a_401(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer()

    with free_of_charge(customer, upstream, model):
        customer.session.put("/api/token/", {"id": customer.key_id, "status": 2}, status_only="true")
        status = eventually(lambda: customer.chat(model).status_code, lambda status: status != 500)

    assert status == 401


def test_a_user_who_is_disabled_is_a_403(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer()
    gateway.root.manage_user(customer.user_id, "disable")
    gateway.wait_directory()

    response = customer.chat(model)

    assert response.status_code == 403
    assert is_a_clear_error(response)
    assert upstream.calls(model=model) == []


def test_a_key_limited_to_other_models_is_a_403(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url())
    customer = gateway.customer(key={"model_limits_enabled": True, "model_limits": "another-model"})

    with free_of_charge(customer, upstream, model):
        response = customer.chat(model)

    assert response.status_code == 403
    assert is_a_clear_error(response)


def test_a_path_that_does_not_exist_is_a_404_in_openais_shape(gateway: Gateway) -> None:
    customer = gateway.customer()

    response = customer.post("/v1/no/such/endpoint", {})

    assert response.status_code == 404
    assert is_a_clear_error(response)


def test_a_wrong_method_is_named_in_openais_shape(gateway: Gateway) -> None:
    customer = gateway.customer()

    response = customer.http.get(CHAT)

    assert response.status_code == 404
    assert f"GET {CHAT}" in response.json()["error"]["message"]
