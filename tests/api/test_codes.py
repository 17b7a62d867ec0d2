"""Redemption codes through the JSON API: issued once, redeemed once by everybody they are for, and refused in words that tell nothing."""

from __future__ import annotations

from time import time

import pytest

from domain.accounts import MAX_ACCOUNT_QUOTA
from domain.events import CodeIssued, CodeRedeemed
from tests.api.house import Answer, House, Json, Person


def issued(house: House, **fields: object) -> str:
    """The text of one code of ten quota."""
    (text,) = house.root.post("/api/redemption/", {"name": "spring", "quota": 10, **fields}).data
    assert isinstance(text, str)
    return text


def redeem(person: Person, text: str) -> Answer:
    return person.post("/api/user/topup", {"key": text})


def listed(house: House, **query: object) -> list[Json]:
    items: list[Json] = house.root.get("/api/redemption/", **query).data["items"]
    return items


def test_a_code_gives_its_quota_once_and_says_so(house: House) -> None:
    customer, text = house.user(), issued(house)

    first, again = redeem(customer, text), redeem(customer, text)

    assert first.data == {"quota": 10, "quota_mills": "10000", "is_gift": False}
    assert again.status == 409
    assert customer.me()["quota_mills"] == "10000"


def test_a_code_that_somebody_used_is_used_up_for_everybody_else(house: House) -> None:
    text = issued(house)
    redeem(house.user(), text)

    late = redeem(house.user(), text)

    assert late.status == 409
    assert "used up" in late.message


def test_a_gift_code_is_for_as_many_users_as_it_says_and_once_for_each(house: House) -> None:
    text = issued(house, is_gift=True, max_uses=2)
    one, two, three = house.user(), house.user(), house.user()

    answers = [redeem(who, text).status for who in (one, one, two, three)]

    assert answers == [200, 409, 200, 409]
    assert [who.me()["quota"] for who in (one, two, three)] == [10, 10, 0]


def test_a_gift_code_without_a_bound_is_for_everybody(house: House) -> None:
    text = issued(house, is_gift=True, max_uses=-1)

    for _ in range(3):
        assert redeem(house.user(), text).data["is_gift"] is True

    (row,) = listed(house)
    assert (row["max_uses"], row["used_count"], row["status"]) == (-1, 3, 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"valid_from": int(time()) + 3600}, "not valid yet"),
        ({"valid_until": int(time()) - 3600}, "not valid any more"),
    ],
    ids=["early", "late"],
)
def test_a_code_works_within_its_dates(house: House, fields: Json, words: str) -> None:
    customer, text = house.user(), issued(house, **fields)

    answer = redeem(customer, text)

    assert answer.status == 409
    assert words in answer.message


@pytest.mark.parametrize("is_gift", [False, True])
def test_a_disabled_code_is_refused_whatever_kind_it_is(house: House, is_gift: bool) -> None:
    customer, text = house.user(), issued(house, is_gift=is_gift)
    house.root.send("PUT", "/api/redemption/", {"id": 1, "status": 2}, query={"status_only": "true"})

    refused = redeem(customer, text)
    house.root.send("PUT", "/api/redemption/", {"id": 1, "status": 1}, query={"status_only": "true"})

    assert refused.status == 409
    assert "disabled" in refused.message
    assert redeem(customer, text).status == 200


def test_a_code_that_was_deleted_and_one_that_never_was_get_the_same_words(house: House) -> None:
    customer, text = house.user(), issued(house)
    house.root.delete("/api/redemption/1")

    deleted, unknown = redeem(customer, text), redeem(customer, "0" * 32)

    assert (deleted.status, deleted.body) == (unknown.status, unknown.body) == (404, deleted.body)
    assert house.root.get("/api/redemption/1").status == 404
    assert listed(house) == []


def test_a_code_that_an_account_has_no_room_for_is_refused_and_stays_unused(house: House) -> None:
    customer, text = house.user(), issued(house)
    house.root.put("/api/user/", {"id": customer.id, "quota": MAX_ACCOUNT_QUOTA})

    answer = redeem(customer, text)

    assert answer.status == 422
    assert redeem(house.user(), text).status == 200


def test_the_text_of_a_deleted_code_is_erased(house: House) -> None:
    issued(house)
    (secret,) = [r.fact.secret for r in house.books.store.read_log(0, 1000) if isinstance(r.fact, CodeIssued)]
    assert house.books.vault.text(secret)

    house.root.delete("/api/redemption/1")

    assert house.books.vault.text(secret) == ""


def test_guesses_are_counted_for_each_user_and_not_forgiven_for_a_code_that_was_used(house: House) -> None:
    customer, text = house.user(), issued(house)
    redeem(customer, text)

    answers = [redeem(customer, text if n % 2 else f"guess{n}") for n in range(21)]

    assert [answer.status for answer in answers[-1:]] == [429]
    assert "codes" in answers[-1].message
    assert int(answers[-1].headers["retry-after"]) > 0


def test_the_text_of_a_code_is_in_no_fact(house: House) -> None:
    text = issued(house, key="SPRING-2026")

    stored = b"".join(fact.state for fact in house.books.store.read_stored(0, 1000))

    assert text == "SPRING-2026"
    assert text.encode() not in stored
    assert redeem(house.user(), f"  {text} ").status == 200


def test_many_codes_are_issued_at_once_each_with_its_own_text(house: House) -> None:
    texts = house.root.post("/api/redemption/", {"name": "print run", "quota": 1, "count": 100}).data

    found = house.root.get("/api/redemption/", page_size=100).data

    assert len(set(texts)) == 100
    assert {len(text) for text in texts} == {32}
    assert (found["total"], [row["key"] for row in found["items"]]) == (100, texts[::-1])


def test_codes_that_are_asked_for_again_under_one_idempotency_key_are_the_same(house: House) -> None:
    body = {"name": "once", "quota": 1, "count": 3}

    first, again = (house.root.post("/api/redemption/", body, Idempotency_Key="run 7") for _ in range(2))

    assert first.data == again.data
    assert len(listed(house)) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 21},
        {"name": "ä" * 11},
        {"quota": 0},
        {"quota": -5},
        {"quota": "5"},
        {"quota": 10**16},
        {"count": 0},
        {"count": 101},
        {"key": "A", "count": 2},
        {"key": " A"},
        {"key": "A" * 65},
        {"is_gift": True, "max_uses": 0},
        {"is_gift": True, "max_uses": -2},
        {"is_gift": True, "max_uses": 10**15},
        {"max_uses": 2},
        {"valid_from": -1},
        {"valid_from": 20, "valid_until": 10},
    ],
    ids=str,
)
def test_a_code_that_cannot_be_is_refused_and_nothing_is_issued(quiet_house: House, wrong: Json) -> None:
    before = quiet_house.head()

    answer = quiet_house.root.post("/api/redemption/", {"name": "spring", "quota": 10, **wrong})

    assert answer.status == 422
    assert quiet_house.head() == before


def test_a_text_is_given_to_one_code_for_ever(house: House) -> None:
    issued(house, key="TWICE")
    house.root.delete("/api/redemption/1")

    answer = house.root.post("/api/redemption/", {"name": "spring", "quota": 1, "key": "TWICE"})

    assert answer.status == 409
    assert "TWICE" not in answer.message


def test_a_list_shows_what_became_of_each_code(house: House) -> None:
    customer = house.user()
    used, _ = issued(house, name="used"), issued(house, name="fresh", valid_until=4_000_000_000)
    redeem(customer, used)

    fresh, spent = listed(house)

    assert (fresh["name"], fresh["status"], fresh["used_count"], fresh["used_user_id"]) == ("fresh", 1, 0, 0)
    assert (fresh["valid_until"], fresh["redeemed_time"], fresh["user_id"]) == (4_000_000_000, 0, house.root.id)
    assert (spent["status"], spent["used_count"], spent["used_user_id"]) == (3, 1, customer.id)
    assert (spent["key"], spent["redeemed_time"] > 0, spent["max_uses"]) == (used, True, 1)


def test_codes_are_found_by_how_their_name_begins_or_by_id(house: House) -> None:
    for name in ("spring a", "spring b", "late spring", "100%"):
        issued(house, name=name)

    def found(keyword: str) -> list[str]:
        return [row["name"] for row in house.root.get("/api/redemption/search", keyword=keyword).data["items"]]

    assert found("spring") == ["spring b", "spring a"]
    assert found("1") == ["100%", "spring a"]
    assert found("%") == []


def test_new_terms_hold_for_the_uses_that_are_left(house: House) -> None:
    text = issued(house, is_gift=True, max_uses=3)
    one, two = house.user(), house.user()
    redeem(one, text)

    changed = house.root.put("/api/redemption/", {"id": 1, "quota": 4, "name": "summer"}).data
    redeem(two, text)

    assert (changed["quota"], changed["name"], changed["is_gift"]) == (4, "summer", True)
    assert (one.me()["quota"], two.me()["quota"]) == (10, 4)
    assert house.books.store.balance("code:1:budget") == (4_000, 0)


def test_a_used_code_is_not_brought_back_by_enabling_it(house: House) -> None:
    text = issued(house)
    redeem(house.user(), text)

    shown = house.root.send("PUT", "/api/redemption/", {"id": 1, "status": 1}, query={"status_only": "1"}).data

    assert shown["status"] == 3
    assert redeem(house.user(), text).status == 409


def test_codes_are_counted_and_deleted_by_their_name(house: House) -> None:
    house.root.post("/api/redemption/", {"name": "many", "quota": 5, "count": 30})
    keep = issued(house, name="many more")

    count = house.root.get("/api/redemption/count-by-name", name="many").data
    gone = house.root.send("DELETE", "/api/redemption/delete-by-name", query={"name": "many"}).data

    assert (count, gone) == (30, 30)
    assert [row["key"] for row in listed(house)] == [keep]
    assert house.root.send("DELETE", "/api/redemption/delete-by-name").status == 422


def test_codes_are_disabled_together_and_then_deleted_together(house: House) -> None:
    house.root.post("/api/redemption/", {"name": "many", "quota": 5, "count": 4})

    disabled = house.root.put("/api/redemption/batch-disable", {"ids": [1, 2, 2, 99]}).data
    again = house.root.put("/api/redemption/batch-disable", {"ids": [1]}).data
    deleted = house.root.delete("/api/redemption/delete-disabled").data

    assert (disabled, again, deleted) == (2, 0, 2)
    assert [row["id"] for row in listed(house)] == [4, 3]


def test_what_is_left_of_a_deleted_code_goes_back_and_the_ledger_adds_up(house: House) -> None:
    text = issued(house, is_gift=True, max_uses=5)
    redeem(house.user(), text)
    house.root.delete("/api/redemption/1")

    report = house.root.get("/api/ledger/verify").data

    assert report["is_sound"] is True
    assert report["totals_mills"]["platform:promo"] == "-10000"
    assert house.books.store.balance("code:1:budget") == (0, 0)


def test_only_administrators_see_codes(house: House) -> None:
    issued(house)

    customer = house.user()

    for method, path in (("GET", "/api/redemption/"), ("GET", "/api/redemption/1"), ("POST", "/api/redemption/")):
        assert customer.send(method, path, {"name": "x", "quota": 1} if method == "POST" else None).status == 403


def test_the_facts_say_who_issued_a_code_and_who_used_it(house: House) -> None:
    admin, customer = house.admin(), house.user()
    (text,) = admin.post("/api/redemption/", {"name": "spring", "quota": 10}).data
    redeem(customer, text)

    facts = [recorded.fact for recorded in house.books.store.read_log(0, 1000)]

    assert [fact.actor for fact in facts if isinstance(fact, CodeIssued)] == [admin.id]
    assert [(fact.code, fact.user) for fact in facts if isinstance(fact, CodeRedeemed)] == [(1, customer.id)]
