"""What holds for every route: one shape, true statuses, bounded bodies and lists, two spellings, a document that is right."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.admin import router as all_routes
from api.admin.router import build_router
from api.admin.routing import MAX_BODY_BYTES
from ledger.errors import LedgerUnavailable, QueueFull
from tests.api.house import House, Json

WRITES = [
    ("POST", "/api/user/login"),
    ("PUT", "/api/user/self"),
    ("POST", "/api/user/"),
    ("PUT", "/api/user/"),
    ("POST", "/api/user/manage"),
    ("POST", "/api/token/"),
    ("PUT", "/api/token/"),
    ("POST", "/api/channel/"),
    ("PUT", "/api/channel/"),
    ("POST", "/api/channel/batch"),
    ("PUT", "/api/option/"),
    ("POST", "/api/setup"),
    ("POST", "/api/redemption/"),
    ("PUT", "/api/redemption/"),
    ("PUT", "/api/redemption/batch-disable"),
    ("POST", "/api/user/topup"),
    ("POST", "/api/user/aff_transfer"),
    ("POST", "/api/user/amount"),
    ("POST", "/api/user/pay"),
    ("POST", "/api/topup/epay/T1/resolve"),
    ("POST", "/api/topup/epay/T1/reverse"),
    ("POST", "/api/user/1/credit_limit"),
    ("POST", "/api/user/1/freeze"),
    ("POST", "/api/user/1/unfreeze"),
    ("POST", f"/api/ledger/charges/{'0' * 32}/refund"),
]
IN_PLAIN_TEXT = {"take_epay_notice", "take_epay_notice_form"}
"""What a payment provider calls: its protocol has words of its own."""
MALFORMED = [b"{nope", b"", b"[]", b'"text"', b"5", b"null", b"\xff\xfe", b'{"id": 1', b"[" * 100_000]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_body_that_is_no_json_object_is_a_bad_request_and_changes_nothing(
    quiet_house: House, method: str, path: str
) -> None:
    before = quiet_house.head()

    answers = [quiet_house.root.send(method, path, raw=raw) for raw in MALFORMED]

    assert {answer.status for answer in answers} == {400}
    assert all(answer.body == {"success": False, "message": answer.message} for answer in answers)
    assert quiet_house.head() == before


def test_a_body_that_is_too_large_is_refused_before_it_is_read_whole(quiet_house: House) -> None:
    raw = b'{"key": "Notice", "value": "' + b"x" * MAX_BODY_BYTES + b'"}'

    answer = quiet_house.root.send("PUT", "/api/option/", raw=raw)

    assert answer.status == 413
    assert f"{MAX_BODY_BYTES:,}" in answer.message


def test_a_body_is_read_as_json_whatever_its_header_calls_it(house: House) -> None:
    body = b'{"key": "Notice", "value": "hello"}'

    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"):
        assert house.root.send("PUT", "/api/option/", raw=body, headers={"Content-Type": kind}).status == 200


def test_both_spellings_of_every_path_answer_without_a_redirect(quiet_house: House) -> None:
    for path in ("/api/user", "/api/token", "/api/channel", "/api/option", "/api/log", "/api/data", "/api/group"):
        for spelling in (path, path + "/"):
            assert quiet_house.root.get(spelling).status == 200
    for path in ("/api/user/self", "/api/status", "/api/log/self", "/api/log/self/stat", "/api/user/1", "/api/setup"):
        for spelling in (path, path + "/"):
            assert quiet_house.root.get(spelling).status == 200


@pytest.mark.parametrize(
    ("query", "page", "size"),
    [
        ({}, 1, 10),
        ({"p": 0}, 1, 10),
        ({"p": -5, "page_size": -1}, 1, 10),
        ({"page_size": 0}, 1, 10),
        ({"page_size": 101}, 1, 100),
        ({"p": 2**53, "page_size": 100}, 10**9, 100),
        ({"p": 2, "page_size": 3}, 2, 3),
    ],
    ids=str,
)
def test_pages_that_count_from_one_are_bounded(quiet_house: House, query: Json, page: int, size: int) -> None:
    lists = ("/api/user/", "/api/user/search", "/api/log/", "/api/log/self", "/api/ledger/audit")
    for path in (*lists, "/api/redemption/", "/api/redemption/search", "/api/user/topup", "/api/topup/"):
        data = quiet_house.root.get(path, **query).data
        assert (data["page"], data["page_size"]) == (page, size)
        assert len(data["items"]) <= size


@pytest.mark.parametrize(
    "query", [{}, {"p": -1}, {"p": 2**53}, {"size": 10**9}, {"page_size": -3}, {"size": 0}], ids=str
)
def test_pages_that_count_from_zero_are_bounded(quiet_house: House, query: Json) -> None:
    for path in ("/api/token/", "/api/channel/"):
        data = quiet_house.root.get(path, **query).data
        assert isinstance(data, list)
        assert len(data) <= 100


def test_a_user_with_many_keys_gets_ten_of_them_and_at_most_a_hundred(house: House) -> None:
    customer = house.user()
    for n in range(12):
        customer.post("/api/token/", {"name": f"k{n}", "unlimited_quota": True})

    assert len(customer.get("/api/token/").data) == 10
    assert len(customer.get("/api/token/", size=1000).data) == 12


@pytest.mark.parametrize(
    "path",
    [
        "/api/user/?p=many",
        "/api/user/?p=1.5",
        "/api/user/?p=99999999999999999999999",
        "/api/user/search?keyword=" + "x" * 200,
        "/api/log/?start_timestamp=-1",
        "/api/log/?channel=x",
        "/api/ledger/statement?limit=-1",
        "/api/user/99999999999999999999999",
        "/api/token/0",
    ],
)
def test_a_query_that_is_no_number_or_out_of_bounds_is_refused(quiet_house: House, path: str) -> None:
    answer = quiet_house.root.get(path)

    assert answer.status == 422
    assert answer.body["success"] is False


def test_an_id_that_is_no_number_leads_nowhere(quiet_house: House) -> None:
    for path in ("/api/user/abc", "/api/token/1.5", "/api/channel/-1"):
        assert quiet_house.root.get(path).status == 404


def test_what_is_not_there_is_not_found(quiet_house: House) -> None:
    root = quiet_house.root

    for path in ("/api/user/999", "/api/token/999", "/api/channel/999", "/api/channel/999/key"):
        answer = root.get(path)
        assert answer.status == 404
        assert "999" in answer.message
    assert root.put("/api/user/", {"id": 999, "quota": 1}).status == 404
    assert root.put("/api/token/", {"id": 999, "name": "x"}).status == 404
    assert root.put("/api/channel/", {"id": 999, "name": "x"}).status == 404


def test_nothing_caches_an_answer(quiet_house: House) -> None:
    assert quiet_house.root.get("/api/user/self").headers["cache-control"] == "no-store"
    assert quiet_house.guest().get("/api/user/self").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("error", [LedgerUnavailable("the disk is full"), QueueFull("8192 commands wait")])
def test_a_ledger_that_cannot_be_written_is_a_503_in_the_envelope(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(house.books.writer, "submit_blocking", refuse)
    answer = house.root.put("/api/option/", {"key": "Notice", "value": "hello"})

    assert answer.status == 503
    assert answer.body["success"] is False
    assert str(error) in answer.message
    assert answer.headers["retry-after"] == "1"


def test_a_read_model_that_lags_says_how_far_it_is(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = house.user(quota=5)
    customer.me()
    behind = house.books.read.await_head()._replace(position=3, is_current=False)
    monkeypatch.setattr(type(house.books.read), "await_head", lambda *_, **__: behind)

    body = customer.get("/api/user/self").body

    assert body["as_of"] == {"position": 3, "head": behind.head, "at_ms": behind.at_ms}
    assert body["data"]["quota"] == 5


def test_an_answer_that_is_current_has_the_familys_three_fields_only(quiet_house: House) -> None:
    assert set(quiet_house.root.get("/api/user/self").body) == {"success", "message", "data"}


def test_the_document_describes_every_route_once_with_its_answer_and_its_refusals() -> None:
    app = FastAPI()
    app.include_router(build_router())

    document = app.openapi()

    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names)) == len(list(documented()))
    assert all(operation["summary"] and operation["tags"] for operation in operations)
    for operation in operations:
        answers = operation["responses"]
        assert set(answers) == {"200", "default"}, operation["operationId"]
        if operation["operationId"] in IN_PLAIN_TEXT:
            assert all(answer["content"]["text/plain"]["schema"] for answer in answers.values())
            continue
        assert answers["200"]["content"]["application/json"]["schema"]
        assert answers["default"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    assert json.loads(json.dumps(document)) == document


def test_routes_that_need_a_login_say_so_in_the_document() -> None:
    app = FastAPI()
    app.include_router(build_router())

    paths = app.openapi()["paths"]

    open_to_all = {
        path for path, operations in paths.items() if any("security" not in op for op in operations.values())
    }
    assert open_to_all == {
        "/api/about",
        "/api/home_page_content",
        "/api/notice",
        "/api/pricing",
        "/api/setup",
        "/api/status",
        "/api/user/epay/notify",
        "/api/user/groups",
        "/api/user/login",
        "/api/user/logout",
    }


def test_every_route_that_needs_a_login_refuses_a_guest(quiet_house: House) -> None:
    guest, free = quiet_house.guest(), {"read_about", "read_home_page_content", "read_notice", "list_prices"}
    free |= {"read_setup", "set_up", "read_status", "list_usable_groups", "login", "logout", *IN_PLAIN_TEXT}

    for route in documented():
        if route.name in free:
            continue
        path = route.path.replace("{user_id:int}", "1").replace("{key_id:int}", "1").replace("{channel_id:int}", "1")
        path = path.replace("{account}", "user:1:available").replace("{request_id}", "0" * 32)
        path = path.replace("{code_id:int}", "1").replace("{provider}/{trade:path}", "epay/T1")
        for method in route.methods or ():
            body: Json | None = {} if method in ("POST", "PUT") else None
            assert guest.send(method, path, body).status == 401, (method, path)


def documented() -> Iterator[APIRoute]:
    for resource in all_routes.RESOURCES:
        for route in resource.routes.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                yield route
