"""Many people at once: what may happen once happens once, and what is added is all there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from api import bootstrap
from tests.api.house import PASSWORD, Answer, House, Person

AT_ONCE = 8


def test_differences_that_come_at_once_are_all_there(house: House) -> None:
    customer = house.user(quota=100)
    people = [house.enter("root", "root of all 1") for _ in range(AT_ONCE)]

    def add(person: Person) -> Answer:
        return person.put("/api/user/", {"id": customer.id, "quota_delta": 3})

    answers = at_once(lambda n: add(people[n]))

    assert {answer.status for answer in answers} == {200}
    assert customer.me()["quota"] == 100 + 3 * AT_ONCE


def test_a_name_that_is_wanted_at_once_goes_to_one(house: House) -> None:
    people = [house.enter("root", "root of all 1") for _ in range(AT_ONCE)]

    answers = at_once(lambda n: people[n].post("/api/user/", {"username": "wanted", "password": PASSWORD}))

    assert Counter(answer.status for answer in answers) == {200: 1, 409: AT_ONCE - 1}
    assert house.root.get("/api/user/search", keyword="wanted").data["total"] == 1


def test_two_users_who_swap_into_one_name_leave_one_of_them_with_it(house: House) -> None:
    people = [house.user() for _ in range(AT_ONCE)]

    answers = at_once(lambda n: people[n].put("/api/user/self", {"username": "wanted"}))

    assert Counter(answer.status for answer in answers) == {200: 1, 409: AT_ONCE - 1}
    assert house.enter("wanted").id in [person.id for person in people]


def test_edits_of_one_user_at_once_all_arrive_or_say_that_somebody_was_faster(house: House) -> None:
    customer = house.user()
    people = [house.enter("root", "root of all 1") for _ in range(AT_ONCE)]

    def rename(n: int) -> Answer:
        return people[n].put("/api/user/", {"id": customer.id, "username": f"renamed{n}"})

    answers = at_once(rename)

    assert {answer.status for answer in answers} <= {200, 409}
    last = house.root.get(f"/api/user/{customer.id}").data["username"]
    taken = [n for n in range(AT_ONCE) if house.root.post("/api/user/", new(f"renamed{n}")).status == 409]
    assert [f"renamed{n}" for n in taken] == [last]


def test_quota_that_is_set_while_calls_are_charged_is_never_minted(house: House) -> None:
    customer = house.user(quota=1_000)
    admin = house.admin()

    def one(n: int) -> Answer:
        if n % 2:
            house.spend(customer.id, 0, 10_000)
        seen = customer.me()["quota"]
        return admin.put("/api/user/", {"id": customer.id, "quota": seen, "quota_seen": seen})

    answers = at_once(one)

    assert {answer.status for answer in answers} == {200}
    assert house.available_mills(customer.id) == 1_000_000 - 10_000 * (AT_ONCE // 2)
    assert house.root.get("/api/ledger/verify").data["is_sound"] is True


def test_one_of_many_who_set_a_site_up_at_once_owns_it(empty_house: House) -> None:
    def claim(n: int) -> Answer:
        body = {"username": f"owner{n}", "password": PASSWORD, "confirmPassword": PASSWORD}
        return empty_house.guest().post("/api/setup", body)

    answers = at_once(claim)

    assert Counter(answer.status for answer in answers) == {200: 1, 400: AT_ONCE - 1}
    assert bootstrap.root_id(empty_house.books) == 1


def at_once(ask: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, range(AT_ONCE)))


def new(username: str) -> dict[str, str]:
    return {"username": username, "password": PASSWORD}
