"""The daily reward through the JSON API: once a UTC day, within the bounds that the site sets."""

from __future__ import annotations

import threading
import time

import pytest

from domain.events import CheckedIn
from tests.api.house import House


@pytest.fixture
def daily(house: House) -> House:
    """A site with a daily reward of seven quota."""
    house.option("CheckInEnabled", "true")
    house.option("CheckInQuota", "7")
    house.settle_down()
    return house


def test_a_reward_is_given_once_a_day(daily: House) -> None:
    customer = daily.user()
    before = customer.get("/api/user/check_in_status").data

    first, again = customer.post("/api/user/check_in", None), customer.post("/api/user/check_in", None)

    assert before == {"can_check_in": True}
    assert first.data == {"quota": 7, "quota_mills": "7000"}
    assert again.status == 409
    assert customer.get("/api/user/check_in_status").data == {"can_check_in": False}
    assert customer.me()["quota"] == 7
    assert customer.me()["last_check_in_time"].startswith(time.strftime("%Y-%m-%d", time.gmtime()))


def test_many_that_ask_at_once_give_one_reward(daily: House) -> None:
    customer, statuses = daily.user(), list[int]()
    clients = [daily.guest() for _ in range(6)]
    for client in clients:
        client.headers, client.cookie = dict(customer.headers), customer.cookie
    threads = [
        threading.Thread(target=lambda one=client: statuses.append(one.post("/api/user/check_in", None).status))
        for client in clients
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200, 409, 409, 409, 409, 409]
    assert customer.me()["quota"] == 7


def test_a_new_day_brings_a_new_reward(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = daily.user()
    customer.post("/api/user/check_in", None)
    tomorrow_ns = time.time_ns() + 86_400 * 10**9
    monkeypatch.setattr("time.time_ns", lambda: tomorrow_ns)
    monkeypatch.setattr("api.admin.check_in.time_ns", lambda: tomorrow_ns)

    answer = customer.post("/api/user/check_in", None)

    assert answer.status == 200
    assert customer.me()["quota"] == 14


def test_a_clock_that_is_a_day_off_gives_nothing(daily: House, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = daily.user()
    yesterday_ns = time.time_ns() - 86_400 * 10**9
    monkeypatch.setattr("api.admin.check_in.time_ns", lambda: yesterday_ns)

    answer = customer.post("/api/user/check_in", None)

    assert answer.status == 503
    assert customer.me()["quota"] == 0


def test_a_reward_is_drawn_between_the_least_and_the_most(daily: House) -> None:
    daily.option("CheckInMaxQuota", "9")
    daily.settle_down()
    customers = [daily.user() for _ in range(12)]

    given = {customer.post("/api/user/check_in", None).data["quota"] for customer in customers}

    assert given <= {7, 8, 9}
    assert len(given) > 1


def test_a_most_below_the_least_is_no_bound(daily: House) -> None:
    daily.option("CheckInMaxQuota", "3")
    daily.settle_down()

    assert daily.user().post("/api/user/check_in", None).data["quota"] == 7


def test_a_site_without_a_reward_gives_none(house: House) -> None:
    customer, before = house.user(), house.head()
    before = house.head()

    answer = customer.post("/api/user/check_in", None)

    assert answer.status == 403
    assert customer.get("/api/user/check_in_status").data == {"can_check_in": False}
    assert house.head() == before


def test_the_fact_says_the_day(daily: House) -> None:
    customer = daily.user()
    customer.post("/api/user/check_in", None)

    (fact,) = [r.fact for r in daily.books.store.read_log(0, 1000) if isinstance(r.fact, CheckedIn)]

    assert (fact.user, fact.amount) == (customer.id, 7_000)
    assert fact.day == time.strftime("%Y-%m-%d", time.gmtime(fact.at // 1000))
