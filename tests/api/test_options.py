"""Options as root writes them: validated by their kind, in force at once, and secrets never told again."""

from __future__ import annotations

import json

import pytest

from domain.events import SettingChanged
from domain.settings import REGISTRY, is_secret
from tests.api.house import House, Json


def test_every_known_option_is_listed_with_its_value_or_its_default(house: House) -> None:
    house.option("RetryTimes", "3")

    listed = {option["key"]: option["value"] for option in house.root.get("/api/option/").data}

    assert set(listed) == {key for key in REGISTRY if not is_secret(key)}
    assert listed["RetryTimes"] == "3"
    assert listed["QuotaPerUnit"] == "500000"
    assert json.loads(listed["ModelRatio"])["gpt-4o"] == 1.25


def test_a_price_is_in_force_when_it_was_answered(house: House) -> None:
    house.option("ModelRatio", '{"m": 2.5}')

    assert house.books.directory.book.price("m", "default").model_ratio == "2.5"
    assert not house.books.directory.book.is_priced("gpt-4o")


def test_a_secret_is_written_used_and_never_told(house: House) -> None:
    secrets = {"SMTPToken": "hunter2-smtp", "oidc.client_secret": "hunter2-oidc", "MyOwnKey": "hunter2-own"}
    for key, value in secrets.items():
        house.option(key, value)

    told = str([house.root.get(path).body for path in ("/api/option/", "/api/status", "/api/ledger/audit")])
    stored = b"".join(fact.state for fact in house.books.store.read_stored(0, 1000))

    assert "hunter2" not in told
    assert b"hunter2" not in stored
    assert {key: house.books.directory.options()[key] for key in secrets} == secrets


def test_a_secret_that_is_replaced_leaves_the_vault(house: House) -> None:
    house.option("SMTPToken", "first secret")
    (fact,) = [recorded.fact for recorded in house.books.store.read_log(house.head() - 1, 1)]
    assert isinstance(fact, SettingChanged)

    house.option("SMTPToken", "second secret")

    assert fact.value == ""
    assert house.books.vault.get(fact.secret) is None
    assert house.books.directory.options()["SMTPToken"] == "second secret"


def test_an_option_that_is_written_as_it_is_records_nothing(house: House) -> None:
    for key, value in (("RetryTimes", "3"), ("SMTPToken", "secret"), ("MyOwn", "text")):
        house.option(key, value)
        before = house.head()
        house.option(key, value)
        assert house.head() == before


def test_an_option_that_we_do_not_know_is_kept(house: House) -> None:
    house.option("SomebodyElses.option", "any text { at all")

    listed = {option["key"]: option["value"] for option in house.root.get("/api/option/").data}
    assert listed["SomebodyElses.option"] == "any text { at all"


@pytest.mark.parametrize("value", [1, 1.5, True, None, ["a"], {"a": "b"}], ids=str)
def test_a_value_that_is_no_text_is_a_bad_request(quiet_house: House, value: object) -> None:
    before = quiet_house.head()

    answer = quiet_house.root.put("/api/option/", {"key": "RetryTimes", "value": value})

    assert answer.status == 400
    assert "text" in answer.message
    assert quiet_house.head() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ModelRatio", "{nope"),
        ("ModelRatio", '{"m": -1}'),
        ("ModelRatio", '{"m": "1"}'),
        ("ModelRatio", '{"m": 1, "m": 2}'),
        ("GroupRatio", '{"default": -1}'),
        ("GroupRatio", "[]"),
        ("QuotaPerUnit", "0"),
        ("QuotaPerUnit", "half"),
        ("RetryTimes", "-1"),
        ("RetryTimes", "1.5"),
        ("RegisterEnabled", "perhaps"),
        ("Chats", "{}"),
        ("", "text"),
        ("Notice", "\x00"),
    ],
)
def test_a_text_that_its_option_cannot_hold_is_refused_and_the_old_one_stays(
    quiet_house: House, key: str, value: str
) -> None:
    before = quiet_house.head()

    answer = quiet_house.root.put("/api/option/", {"key": key, "value": value})

    assert answer.status == 422
    assert quiet_house.head() == before
    assert quiet_house.books.directory.book.is_priced("gpt-4o")


@pytest.mark.parametrize("body", [{}, {"key": "Notice"}, {"value": "x"}, {"key": 5, "value": "x"}, []], ids=str)
def test_an_option_needs_a_key_and_a_value(quiet_house: House, body: Json) -> None:
    assert quiet_house.root.put("/api/option/", body).status in (400, 422)


def test_the_built_in_ratios_come_back_on_request(house: House) -> None:
    house.option("ModelRatio", '{"m": 2.5}')

    assert house.root.post("/api/option/rest_model_ratio", {}).status == 200

    assert house.books.directory.book.is_priced("gpt-4o")
    assert not house.books.directory.book.is_priced("m")


def test_a_change_of_an_option_says_who_made_it(house: House) -> None:
    house.option("Notice", "hello")

    newest = house.root.get("/api/ledger/audit", p=1, page_size=1).data["items"][0]

    assert (newest["subject"], newest["actor"], newest["detail"]["value"]) == ("setting:Notice", 1, "hello")
