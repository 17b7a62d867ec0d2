"""Being logged in on several processes of one ledger: in everywhere at once, out everywhere within the bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.admin import sessions
from api.admin.services import Services
from tests.api.house import PASSWORD, ROOT_PASSWORD, House, Person
from tests.harness.redis import RedisServer
from tests.harness.waiting import eventually
from tests.shared.conftest import Elsewhere

BOUND_S = 5.0


class Site:
    """Two processes of one ledger, each with its own connection to Redis, in which the tests can look."""

    def __init__(self, folder: Path, stack: ExitStack, url: str) -> None:
        first = House(folder).with_root()
        digest = first.books.vault.digest
        self.shared = [stack.enter_context(Elsewhere(url, digest=digest)) for _ in range(2)]
        first.close()
        self.here, self.there = [House(folder, shared) for shared in self.shared]
        for house in (self.here, self.there):
            stack.callback(house.close)

    def log_in(self) -> tuple[Person, Person]:
        """Root, logged in at one process, with the same cookie at both."""
        here = self.here.enter("root", ROOT_PASSWORD)
        return here, copied(here, self.there)


class Clock:
    """Told, not read; it begins with the time of day."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


def copied(person: Person, house: House) -> Person:
    other = house.guest()
    other.cookie, other.headers = person.cookie, person.headers
    return other


def status(person: Person) -> int:
    return person.get("/api/user/self").status


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path / "data", stack, redis_server.url)


def test_a_login_at_one_process_is_one_at_all(site: Site) -> None:
    here, there = site.log_in()

    assert status(there) == 200
    assert status(here) == 200


def test_a_logout_at_one_process_is_one_at_all_within_the_bound(site: Site) -> None:
    here, there = site.log_in()
    assert status(there) == 200

    assert here.get("/api/user/logout").status == 200
    here.cookie = there.cookie
    began = time.monotonic()

    assert status(here) == 401
    eventually(lambda: status(there), lambda code: code == 401, within_s=BOUND_S, every_s=0.1)
    assert time.monotonic() - began <= BOUND_S


def test_a_process_that_has_not_seen_the_session_refuses_it_at_once_after_the_logout(site: Site) -> None:
    here, there = site.log_in()

    here.get("/api/user/logout")

    assert status(there) == 401


def test_a_redis_that_repeats_what_it_heard_for_ever_lets_nobody_in_beyond_the_bound(
    site: Site, redis_server: RedisServer
) -> None:
    here, there = site.log_in()
    # The process asks the database, and says so in Redis.
    assert status(there) == 200
    with redis_server.client() as client:
        (key,) = eventually(lambda: list(client.scan_iter("veloera:*:s:*")), lambda keys: len(keys) == 1)
        lie = client.get(key)
        assert isinstance(lie, str)
        here.get("/api/user/logout")
        clock = Clock()
        digest, link = site.there.books.vault.digest, site.shared[1].link
        fresh = sessions.Sessions(site.there.books.store, digest, link, clock=clock, wall=clock)
        opened = sessions.opened(sessions.signing_key(site_parts(site)), there.cookie, site.there.books.directory.user)
        assert opened is not None

        answers: list[bool] = []
        for _ in range(100):
            client.set(key, lie)
            known = fresh.known(opened)
            answers.append(fresh.lives(opened) if known is None else known)
            clock.now_s += 0.1

    assert answers[0]
    assert not any(answers[int(BOUND_S * 10) :])


def test_an_entry_that_is_too_old_is_passed_over(site: Site, redis_server: RedisServer) -> None:
    _, there = site.log_in()
    assert status(there) == 200
    clock = Clock()
    fresh = sessions.Sessions(
        site.there.books.store, site.there.books.vault.digest, site.shared[1].link, clock=clock, wall=clock
    )
    opened = sessions.opened(sessions.signing_key(site_parts(site)), there.cookie, site.there.books.directory.user)
    assert opened is not None
    with redis_server.client() as client:
        (key,) = eventually(lambda: list(client.scan_iter("veloera:*:s:*")), lambda keys: len(keys) == 1)
        client.persist(key)

    clock.now_s += 3_600

    assert fresh.lives(opened)


@pytest.mark.parametrize(
    "planted",
    [
        "ended",
        "1",
        "",
        "x" * 10_000,
        "NOW.99999999999999." + "0" * 64,
        "NOW.99999999999999.",
        "1.2.3",
        "²²²." * 3,
        "\0",
    ],
    ids=range(9),
)
def test_a_redis_that_invents_sessions_lets_nobody_in_and_one_that_denies_them_keeps_nobody_out(
    site: Site, redis_server: RedisServer, planted: str
) -> None:
    here, there = site.log_in()
    secret = here.cookie.split(".")[1]
    link, digest = site.shared[0].link, site.here.books.vault.digest
    forged = site.here.guest()
    forged.headers = here.headers
    planted = planted.replace("NOW", str(int(time.time() * 1000)))
    with redis_server.client() as client:
        client.set(link.key("s", digest("session", secret)), planted)
        client.set(link.key("s", digest("session", "invented")), planted)
    root = site.here.books.directory.user(1)
    assert root is not None
    forged.cookie = sessions.signed(sessions.signing_key(site_parts(site)), root, "invented")

    assert status(there) == 200
    assert status(forged) == 401


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_without_redis_sessions_are_the_databases(site: Site, redis_server: RedisServer, how: str) -> None:
    for shared in site.shared:
        shared.link.timeout_s = 0.25
    getattr(redis_server, how)()

    here, there = site.log_in()
    statuses = [status(here), status(there)]
    here.get("/api/user/logout")
    fresh = House(site.here.books.folder)

    assert statuses == [200, 200]
    assert status(copied(there, fresh)) == 401
    fresh.close()
    redis_server.resume()


def test_a_password_changed_at_one_process_ends_the_sessions_at_all(site: Site) -> None:
    here, there = site.log_in()
    assert status(there) == 200

    assert here.put("/api/user/self", {"password": "another horse 9"}).status == 200

    eventually(lambda: status(there), lambda code: code == 401, within_s=BOUND_S)
    assert status(here) == 200


def test_a_ban_at_one_process_ends_the_sessions_at_all_and_for_good(site: Site) -> None:
    root, _ = site.log_in()
    site.here.root = root
    customer = site.here.user()
    there = copied(customer, site.there)
    assert status(there) == 200

    root.post("/api/user/manage", {"id": customer.id, "action": "disable"})
    eventually(lambda: status(there), lambda code: code == 401, within_s=BOUND_S)
    root.post("/api/user/manage", {"id": customer.id, "action": "enable"})

    fresh = House(site.here.books.folder)
    assert status(copied(customer, fresh)) == 401
    assert status(customer) == 401
    fresh.close()


def test_failed_logins_are_counted_over_processes(site: Site) -> None:
    wrong = {"username": "root", "password": "not the one"}
    guests = [site.here.guest(), site.there.guest()]

    statuses = [guests[n % 2].post("/api/user/login", wrong).status for n in range(22)]

    assert statuses == [401] * 20 + [429] * 2


def test_redis_learns_nothing_about_anybody(site: Site, redis_server: RedisServer) -> None:
    here, there = site.log_in()
    site.here.guest().post("/api/user/login", {"username": "somebody@example.com", "password": PASSWORD})
    assert status(there) == 200
    _, secret, signature = here.cookie.split(".")

    with redis_server.client() as client:
        kinds: dict[str, Callable[[str], object]] = {
            "string": client.get,
            "hash": client.hgetall,
            "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        }
        keys = eventually(lambda: list(client.scan_iter("*")), lambda keys: len(keys) >= 4)
        written = str([(key, kinds[str(client.type(key))](key)) for key in keys])

    assert all(key.startswith("veloera:") for key in keys)
    for private in (secret, signature, "somebody", "testclient", "127.0.0.1", ROOT_PASSWORD):
        assert private not in written


def site_parts(site: Site) -> Services:
    parts: Services = site.here.app.state.services
    return parts
