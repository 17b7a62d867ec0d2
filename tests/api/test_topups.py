"""Buying quota: an order pins its price, the gateway's signed notice credits it once, and what does not fit waits for a person."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from ledger.errors import LedgerUnavailable
from tests.api.house import House, Json, Person

KEY = "merchant key"
OPTIONS = {
    "PayAddress": "https://pay.example.com/",
    "EpayId": "1001",
    "EpayKey": KEY,
    "ServerAddress": "https://gateway.example.com",
    "Price": "7.3",
}


@pytest.fixture
def shop(house: House) -> House:
    """A site that takes payments."""
    for name, value in OPTIONS.items():
        house.option(name, value)
    house.settle_down()
    return house


def ordered(person: Person, amount: int = 2, method: str = "zfb") -> Json:
    """The fields of the payment form."""
    answer = person.post("/api/user/pay", {"amount": amount, "payment_method": method})
    assert (answer.status, answer.message) == (200, "success"), answer.body
    fields: Json = answer.body["data"]
    return fields


def notice_of(form: Json, key: str = KEY, **changes: str) -> dict[str, str]:
    """What the gateway would say of a form once it was paid."""
    fields = {
        "pid": form["pid"],
        "trade_no": "2026112200001",
        "out_trade_no": form["out_trade_no"],
        "type": form["type"],
        "name": form["name"],
        "money": form["money"],
        "trade_status": "TRADE_SUCCESS",
        **changes,
    }
    return {**fields, "sign": signature(fields, key), "sign_type": "MD5"}


def signature(fields: Mapping[str, str], key: str) -> str:
    """As the gateway's own documentation says it, written a second time."""
    text = "&".join(f"{name}={fields[name]}" for name in sorted(fields) if fields[name])
    return hashlib.md5(f"{text}{key}".encode()).hexdigest()


def say(house: House, notice: Mapping[str, str] | str, method: str = "GET") -> tuple[int, str]:
    """What the gateway hears."""
    text = notice if isinstance(notice, str) else urlencode(notice)
    with TestClient(house.app) as http:
        if method == "GET":
            answer = http.get(f"/api/user/epay/notify?{text}")
        else:
            kind = {"content-type": "application/x-www-form-urlencoded"}
            answer = http.post("/api/user/epay/notify", content=text, headers=kind)
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.status_code, answer.text


def listed(person: Person, path: str = "/api/topup/", **query: object) -> list[Json]:
    items: list[Json] = person.get(path, **query).data["items"]
    return items


def test_an_amount_has_a_price_in_exact_decimals(shop: House) -> None:
    customer = shop.user()

    answers = [customer.post("/api/user/amount", {"amount": amount}) for amount in (1, 3, 100)]

    assert [answer.data for answer in answers] == ["7.30", "21.90", "730.00"]
    assert {answer.message for answer in answers} == {"success"}


def test_a_price_is_rounded_half_up_once_after_all_of_it_is_multiplied(shop: House) -> None:
    shop.option("Price", "0.335")
    shop.option("TopupGroupRatio", '{"default": 1, "vip": 0.1}')
    shop.settle_down()

    prices = [
        shop.user(group=group).post("/api/user/amount", {"amount": 3}).data for group in ("default", "vip", "other")
    ]

    assert prices == ["1.01", "0.10", "1.01"]


def test_quota_is_sold_by_the_quota_where_the_site_shows_quota(shop: House) -> None:
    shop.option("DisplayInCurrencyEnabled", "false")
    shop.settle_down()
    customer = shop.user()

    form = ordered(customer, 750_000)
    say(shop, notice_of(form))

    assert form["money"] == "10.95"
    assert customer.me()["quota_mills"] == "750000000"


def test_an_amount_that_cannot_be_bought_is_refused(shop: House) -> None:
    customer = shop.user()
    before = shop.head()

    statuses = {
        customer.post(f"/api/user/{what}", {"amount": amount}).status
        for amount in (0, -1, 1.5, "2", True, 2**60)
        for what in ("amount", "pay")
    }

    assert statuses == {422}
    assert shop.head() == before


def test_less_than_the_least_that_is_sold_is_refused(shop: House) -> None:
    shop.option("MinTopUp", "5")
    shop.settle_down()

    answer = shop.user().post("/api/user/pay", {"amount": 4})

    assert answer.status == 422
    assert "at least 5" in answer.message


def test_nothing_can_be_ordered_before_payment_is_set_up(house: House) -> None:
    answer = house.user().post("/api/user/pay", {"amount": 4})

    assert answer.status == 409
    assert "PayAddress" in answer.message


def test_a_form_is_signed_as_the_gateway_wants_it(shop: House) -> None:
    answer = shop.user().post("/api/user/pay", {"amount": 2, "payment_method": "zfb"})

    form = answer.body["data"]
    assert answer.body["url"] == "https://pay.example.com/submit.php"
    assert (form["type"], form["money"], form["name"], form["device"]) == ("alipay", "14.60", "TUC2", "pc")
    assert form["notify_url"] == "https://gateway.example.com/api/user/epay/notify"
    assert form["return_url"] == "https://gateway.example.com/log"
    signed = (
        f"device=pc&money=14.60&name=TUC2&notify_url={form['notify_url']}&out_trade_no={form['out_trade_no']}"
        f"&pid=1001&return_url={form['return_url']}&type=alipay{KEY}"
    )
    assert form["sign"] == hashlib.md5(signed.encode()).hexdigest()


def test_a_paid_order_is_credited_once_however_often_its_notice_comes(shop: House) -> None:
    customer = shop.user()
    notice = notice_of(ordered(customer))

    heard = [say(shop, notice, method) for method in ("GET", "POST", "GET")]

    assert heard == [(200, "success")] * 3
    assert customer.me()["quota"] == 1_000_000
    (row,) = listed(customer, "/api/user/topup")
    assert (row["status"], row["quota"], row["money"], row["currency"]) == ("success", 1_000_000, "14.60", "CNY")


def test_an_empty_field_of_a_notice_is_not_signed(shop: House) -> None:
    customer = shop.user()

    heard = say(shop, notice_of(ordered(customer), param="", buyer=""))

    assert heard == (200, "success")
    assert customer.me()["quota"] == 1_000_000


def test_a_notice_of_other_money_for_an_order_that_was_credited_is_not_taken(shop: House) -> None:
    customer = shop.user()
    form = ordered(customer)
    say(shop, notice_of(form))
    before = shop.head()

    heard = say(shop, notice_of(form, money="99.00"))

    assert heard == (200, "fail")
    assert shop.head() == before


def test_an_order_buys_what_it_said_whatever_prices_became(shop: House) -> None:
    customer = shop.user()
    form = ordered(customer)
    shop.option("QuotaPerUnit", "1000")
    shop.option("Price", "1")
    shop.settle_down()

    heard = say(shop, notice_of(form))

    assert heard == (200, "success")
    assert customer.me()["quota"] == 1_000_000


NO_NOTICE = [
    {"sign": "0" * 32},
    {"sign": ""},
    {"pid": "1002"},
    {"trade_status": "WAIT_BUYER_PAY"},
    {"trade_status": ""},
    {"out_trade_no": ""},
    {"money": "14,60"},
    {"money": "1e2"},
    {"money": "-14.60"},
    {"money": "14.605"},
    {"money": ""},
]


def test_what_is_no_notice_of_this_merchants_is_not_taken_and_changes_nothing(shop: House) -> None:
    form = ordered(shop.user())
    before = shop.head()

    heard = {
        str(changes): say(shop, {**notice_of(form, **changes), **({} if "sign" not in changes else changes)})
        for changes in NO_NOTICE
    }

    assert heard == {str(changes): (200, "fail") for changes in NO_NOTICE}
    assert shop.head() == before


def test_a_notice_signed_with_another_key_or_changed_on_its_way_is_not_taken(shop: House) -> None:
    form = ordered(shop.user())
    before = shop.head()
    changed = {**notice_of(form), "out_trade_no": "USR1NOother1"}

    heard = [say(shop, notice_of(form, key="another")), say(shop, changed), say(shop, "")]

    assert heard == [(200, "fail")] * 3
    assert shop.head() == before


def test_a_field_that_comes_twice_is_no_notice(shop: House) -> None:
    form = ordered(shop.user())
    before = shop.head()
    text = urlencode(notice_of(form))

    heard = [say(shop, f"{text}&money=0.01"), say(shop, f"money=14.60&{text}"), say(shop, text + "&a=1" * 1000)]

    assert heard == [(200, "fail")] * 3
    assert shop.head() == before


def test_another_amount_than_the_orders_is_flagged_and_credits_nobody(shop: House) -> None:
    customer = shop.user()
    form = ordered(customer)

    heard = say(shop, notice_of(form, money="1.00"))

    assert heard == (200, "success")
    assert customer.me()["quota"] == 0
    (row,) = listed(shop.root, status="flagged")
    assert (row["user_id"], row["flagged"], row["flagged_money"], row["money"]) == (
        customer.id,
        "amount",
        "1.00",
        "14.60",
    )


def test_money_without_an_order_is_flagged_once_and_credited_by_hand(shop: House) -> None:
    customer = shop.user()
    form = {**ordered(shop.user()), "out_trade_no": "nobody's/1"}
    notice = notice_of(form)
    heard = [say(shop, notice), say(shop, notice)]

    path = "/api/topup/epay/nobody's/1/resolve"
    unsaid = shop.root.post(path, {"user_id": customer.id, "reason": "e-mail of the 3rd"})
    resolved = shop.root.post(path, {"user_id": customer.id, "quota": 7, "reason": "e-mail of the 3rd"})
    again = shop.root.post(path, {"user_id": customer.id, "quota": 8})

    assert heard == [(200, "success")] * 2
    assert (unsaid.status, again.status) == (422, 409)
    assert (resolved.data["status"], resolved.data["resolved_by"], resolved.data["money"]) == ("success", 1, "14.60")
    assert customer.me()["quota"] == 7
    assert listed(shop.root, status="flagged") == []


def test_a_flagged_payment_is_credited_as_its_order_says_where_no_amount_is_named(shop: House) -> None:
    customer = shop.user()
    form = ordered(customer)
    say(shop, notice_of(form, money="14.59"))

    data = shop.root.post(f"/api/topup/epay/{form['out_trade_no']}/resolve", {"user_id": customer.id}).data

    assert data["credited_mills"] == "1000000000"
    assert say(shop, notice_of(form, money="14.59")) == (200, "success")
    assert customer.me()["quota"] == 1_000_000


def test_what_fits_and_was_credited_cannot_be_credited_by_hand(shop: House) -> None:
    customer = shop.user()
    form = ordered(customer)
    unpaid = shop.root.post(f"/api/topup/epay/{form['out_trade_no']}/resolve", {"user_id": customer.id, "quota": 1})
    say(shop, notice_of(form))

    paid = shop.root.post(f"/api/topup/epay/{form['out_trade_no']}/resolve", {"user_id": customer.id, "quota": 1})

    assert (unpaid.status, paid.status) == (404, 409)
    assert customer.me()["quota"] == 1_000_000


def test_a_credit_is_taken_back_in_parts_and_never_more_than_it_was(shop: House) -> None:
    customer = shop.user()
    form = ordered(customer)
    say(shop, notice_of(form))
    path = f"/api/topup/epay/{form['out_trade_no']}/reverse"

    part, same = (shop.root.post(path, {"quota": 400_000, "reason": "part"}, Idempotency_Key="r1") for _ in range(2))
    too_much = shop.root.post(path, {"quota": 600_001})
    rest = shop.root.post(path, {"reason": "the rest"})
    before = shop.head()
    nothing = shop.root.post(path, {})

    assert part.data["reversed_mills"] == same.data["reversed_mills"] == "400000000"
    assert (too_much.status, rest.data["status"], nothing.data["status"]) == (409, "reversed", "reversed")
    assert shop.head() == before
    assert customer.me()["quota"] == 0


def test_a_reversal_may_leave_a_debt(shop: House) -> None:
    customer = shop.user()
    form = ordered(customer)
    say(shop, notice_of(form))
    shop.spend(customer.id, 0, 300_000)

    shop.root.post(f"/api/topup/epay/{form['out_trade_no']}/reverse", {"reason": "chargeback"})

    assert customer.me()["quota_mills"] == "-300000"


def test_an_order_that_was_given_up_may_still_be_paid(shop: House) -> None:
    customer = shop.user()
    form = ordered(customer)

    given_up = say(shop, notice_of(form, trade_status="TRADE_CLOSED"))
    (failed,) = listed(customer, "/api/user/topup")
    paid = say(shop, notice_of(form))

    assert (given_up, paid) == ((200, "success"), (200, "success"))
    assert failed["status"] == "failed"
    assert customer.me()["quota"] == 1_000_000


def test_the_gateway_has_to_come_again_when_the_ledger_is_away(shop: House, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = shop.user()
    notice = notice_of(ordered(customer))

    def away(*_: object, **__: object) -> None:
        raise LedgerUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(shop.books.writer, "submit_blocking", away)
        unheard = say(shop, notice)

    assert unheard == (503, "fail")
    assert say(shop, notice) == (200, "success")
    assert customer.me()["quota"] == 1_000_000


def test_a_customer_sees_their_own_orders_only_and_administrators_all(shop: House) -> None:
    one, two = shop.user(), shop.user()
    for who in (one, two, one):
        ordered(who)

    assert len(listed(one, "/api/user/topup")) == 2
    assert len(listed(two, "/api/user/topup")) == 1
    assert len(listed(shop.root)) == 3
    assert len(listed(shop.root, user_id=two.id)) == 1
    assert one.get("/api/topup/").status == 403


def test_orders_are_counted_for_each_user(shop: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.admin.counted.MAX_ORDERS", 3)
    customer = shop.user()

    answers = [customer.post("/api/user/pay", {"amount": 1}) for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert "orders" in answers[-1].message


def test_an_administrator_credits_nobody_of_equal_rank(shop: House) -> None:
    admin, other = shop.admin(), shop.admin()
    say(shop, notice_of({**ordered(shop.user()), "out_trade_no": "lost1"}))

    answers = [
        admin.post("/api/topup/epay/lost1/resolve", {"user_id": who.id, "quota": 1})
        for who in (admin, other, shop.root)
    ]

    assert {answer.status for answer in answers} == {403}


def test_every_way_of_a_payment_leaves_a_ledger_that_adds_up(shop: House) -> None:
    customer = shop.user()
    forms = [ordered(customer) for _ in range(3)]
    say(shop, notice_of(forms[0]))
    say(shop, notice_of(forms[1], money="0.01"))
    shop.root.post(f"/api/topup/epay/{forms[1]['out_trade_no']}/resolve", {"user_id": customer.id, "mills": "1234"})
    shop.root.post(f"/api/topup/epay/{forms[0]['out_trade_no']}/reverse", {"mills": "999"})

    report = shop.root.get("/api/ledger/verify").data

    assert report["is_sound"] is True
    assert report["totals_mills"]["platform:topup:epay"] == "-1000000235"
    assert customer.me()["quota_mills"] == "1000000235"
