"""Who is logged in: what opens a session, what ends it, and what a request has to carry."""

from __future__ import annotations

from time import process_time, time

import bcrypt
import msgspec
import pytest

from api.admin import passwords, sessions
from domain.user import User
from ledger.store import Session
from relay.shared_link import Link
from tests.api.house import PASSWORD, ROOT_PASSWORD, House, Person


def test_a_login_sets_a_cookie_that_neither_scripts_nor_other_sites_can_use(house: House) -> None:
    answer = house.guest().post("/api/user/login", {"username": "root", "password": ROOT_PASSWORD})

    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("session=")
    assert all(term in cookie for term in ("httponly", "samesite=strict", "path=/", "max-age=2592000"))
    assert (answer.data["username"], answer.data["role"]) == ("root", 100)


@pytest.mark.parametrize(
    ("username", "password"), [("nobody", PASSWORD), ("root", "wrong " + ROOT_PASSWORD), ("root@example.com", PASSWORD)]
)
def test_a_failed_login_says_the_same_whatever_was_wrong(house: House, username: str, password: str) -> None:
    disabled = house.user()
    house.root.post("/api/user/manage", {"id": disabled.id, "action": "disable"})
    of_disabled = house.guest().post("/api/user/login", {"username": disabled.username, "password": PASSWORD})

    answer = house.guest().post("/api/user/login", {"username": username, "password": password})

    assert answer.status == of_disabled.status == 401
    assert answer.body == of_disabled.body
    assert "set-cookie" not in answer.headers


def test_a_user_who_does_not_exist_costs_the_work_of_a_real_password() -> None:
    real = passwords.hashed("any password")

    assert passwords.NOBODY.split("$")[:4] == real.split("$")[:4]
    assert [len(part) for part in passwords.NOBODY.split("$")] == [len(part) for part in real.split("$")]
    assert not passwords.opens("", "any password")
    assert work_s("") > work_s(real) / 2


def test_a_request_without_a_session_is_refused(house: House) -> None:
    answer = house.guest().get("/api/user/self")

    assert answer.status == 401
    assert "POST /api/user/login" in answer.message


def test_a_session_counts_only_beside_the_header_that_names_its_user(house: House) -> None:
    for header in ("", "nonsense", "999", "1.0"):
        house.root.headers["Veloera-User"] = header
        answer = house.root.get("/api/user/self")

        assert answer.status == 401
        assert "Veloera-User" in answer.message


def test_the_header_of_the_relatives_counts_as_ours(house: House) -> None:
    house.root.headers = {"New-Api-User": str(house.root.id)}

    assert house.root.get("/api/user/self").status == 200


def test_a_session_that_somebody_changed_is_none(house: House) -> None:
    customer = house.user()
    user_id, *rest = customer.cookie.split(".")
    assert int(user_id) == customer.id

    for forged in (".".join(["1", *rest]), customer.cookie[:-2], "1.2.3", "", "x" * 5000):
        customer.cookie = forged
        customer.headers["Veloera-User"] = "1"
        assert customer.get("/api/user/self").status == 401


def test_a_session_lives_for_thirty_days_and_not_a_second_longer(house: House) -> None:
    clock = Clock()
    live = sessions.Sessions(house.books.store, house.books.vault.digest, Link(), clock=clock, wall=clock)
    opened = sessions.Opened(root_of(house), live.begin(1))

    clock.now_s += sessions.LIFE_S - 1

    assert live.known(opened) is None
    assert live.lives(opened)
    clock.now_s += 1
    assert not live.known(opened)
    assert not live.lives(opened)


def test_a_cookie_is_good_for_its_key_its_user_and_his_password_alone(house: House) -> None:
    root, key = root_of(house), b"k" * 32
    cookie = sessions.signed(key, root, "secret")

    assert sessions.opened(key, cookie, house.books.directory.user) == (root, "secret")
    assert sessions.opened(b"other", cookie, house.books.directory.user) is None
    assert sessions.opened(key, cookie, lambda _: msgspec.structs.replace(root, password="another")) is None
    assert sessions.opened(key, cookie, lambda _: None) is None
    for damaged in ("1.2.3.ü", "1.2", "-1.a.b", "9" * 40 + ".a.b", "²." + cookie.partition(".")[2]):
        assert sessions.opened(key, damaged, house.books.directory.user) is None


def test_a_copied_cookie_ends_with_the_session(house: House) -> None:
    thief = house.guest()
    thief.cookie, thief.headers = house.root.cookie, house.root.headers
    assert thief.get("/api/user/self").status == 200

    house.root.get("/api/user/logout")

    assert thief.get("/api/user/self").status == 401


def test_logging_out_ends_no_other_session(house: House) -> None:
    here, elsewhere = house.root, house.enter("root", ROOT_PASSWORD)

    here.get("/api/user/logout")

    assert elsewhere.get("/api/user/self").status == 200


def test_a_session_that_a_ban_ended_does_not_come_back_with_its_user(house: House) -> None:
    customer = house.user()

    for action in ("disable", "enable"):
        house.root.post("/api/user/manage", {"id": customer.id, "action": action})

    assert customer.get("/api/user/self").status == 401
    assert house.enter(customer.username).get("/api/user/self").status == 200


def test_a_cookie_that_nobody_signed_costs_no_question_to_the_database(house: House) -> None:
    user_id, _, signature = house.root.cookie.split(".")
    guest = house.guest()
    guest.cookie, guest.headers = f"{user_id}.{'A' * 43}.{signature}", house.root.headers
    live = house.app.state.sessions
    asked: list[object] = []
    live.lives = asked.append

    assert guest.get("/api/user/self").status == 401
    assert asked == []


def test_where_the_database_cannot_be_asked_nobody_is_said_to_be_logged_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.books.store, "session", broken)
    monkeypatch.setattr(house.books.store, "end_session", broken)
    house.app.state.sessions = sessions.Sessions(house.books.store, house.books.vault.digest, Link())

    assert house.root.get("/api/user/self").status == 503
    assert house.root.get("/api/user/logout").status == 503


def test_the_database_keeps_no_secret_of_a_session(house: House) -> None:
    _, secret, signature = house.root.cookie.split(".")
    digest = house.books.vault.digest("session", secret)

    row = house.books.store.session(digest)

    assert row is not None
    assert row.user == 1
    files = b"".join(path.read_bytes() for path in house.books.folder.iterdir() if path.is_file())
    assert digest.encode() in files
    assert secret.encode() not in files
    assert signature.encode() not in files


def test_sessions_that_have_expired_are_forgotten_and_no_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "FORGET_AT_ONCE", 4)
    store, now_ms = house.books.store, int(time() * 1000)
    for n in range(11):
        store.put_session(Session(f"old {n}", 1, 0, now_ms - 1))
    store.put_session(Session("young", 1, 0, now_ms + 60_000))

    assert sessions.forget_expired(store) == 11

    assert store.session("old 7") is None
    assert store.session("young") is not None
    assert house.root.get("/api/user/self").status == 200


def test_a_ban_ends_a_session_at_once(house: House) -> None:
    customer = house.user()

    house.root.post("/api/user/manage", {"id": customer.id, "action": "disable"})

    assert customer.get("/api/user/self").status == 401


def test_a_deletion_ends_a_session_at_once(house: House) -> None:
    customer = house.user()

    house.root.delete(f"/api/user/{customer.id}")

    assert customer.get("/api/user/self").status == 401


def test_a_demotion_takes_the_rights_of_a_running_session(house: House) -> None:
    admin = house.admin()
    assert admin.get("/api/user/").status == 200

    house.root.post("/api/user/manage", {"id": admin.id, "action": "demote"})

    assert admin.get("/api/user/").status == 403
    assert admin.get("/api/user/self").status == 200


def test_a_new_password_ends_all_other_sessions_and_keeps_the_one_that_set_it(house: House) -> None:
    here = house.user()
    elsewhere = house.enter(here.username)

    assert here.put("/api/user/self", {"password": "another horse 9"}).status == 200

    assert here.get("/api/user/self").status == 200
    assert elsewhere.get("/api/user/self").status == 401
    assert house.enter(here.username, "another horse 9").id == here.id


def test_a_password_that_an_administrator_sets_ends_the_users_sessions(house: House) -> None:
    customer = house.user()

    house.root.put("/api/user/", {"id": customer.id, "password": "set by others"})

    assert customer.get("/api/user/self").status == 401
    assert house.enter(customer.username, "set by others").id == customer.id


def test_logging_out_forgets_the_cookie(house: House) -> None:
    answer = house.root.get("/api/user/logout")

    assert 'session=""' in answer.headers["set-cookie"]
    assert house.root.get("/api/user/self").status == 401


def test_twenty_failed_logins_shut_the_door_for_that_name_and_address(house: House) -> None:
    guest = house.guest()
    wrong = {"username": "root", "password": "not the one"}

    statuses = [guest.post("/api/user/login", wrong).status for _ in range(20)]
    shut = guest.post("/api/user/login", {"username": "root", "password": ROOT_PASSWORD})

    assert set(statuses) == {401}
    assert shut.status == 429
    assert 1 <= int(shut.headers["retry-after"]) <= 1200


def test_a_password_of_a_migrated_user_opens_once_and_is_hashed_anew(house: House) -> None:
    made = house.migrated("olduser", bcrypt.hashpw(b"bcrypt horse", bcrypt.gensalt(4)).decode())

    person = house.enter("olduser", "bcrypt horse")

    found = house.books.directory.user(made)
    assert found is not None
    assert house.books.vault.text(found.password).startswith("$argon2id$")
    assert person.get("/api/user/self").status == 200
    assert house.enter("olduser", "bcrypt horse").id == made


def test_a_wrong_password_does_not_open_a_migrated_hash(house: House) -> None:
    house.migrated("olduser", bcrypt.hashpw(b"bcrypt horse", bcrypt.gensalt(4)).decode())
    house.migrated("damaged", "$2a$10$this-is-no-hash")
    house.migrated("passwordless", "")

    for username in ("olduser", "damaged", "passwordless"):
        answer = house.guest().post("/api/user/login", {"username": username, "password": "wrong horse"})
        assert answer.status == 401


def test_one_may_log_in_with_the_own_e_mail_address(house: House) -> None:
    made = house.migrated("mailuser", passwords.hashed("a fine password"), "Mail@Example.com")

    person = house.guest().log_in("mail@example.com", "a fine password")

    assert person.id == made


def test_logging_in_with_a_password_can_be_switched_off(house: House) -> None:
    house.option("PasswordLoginEnabled", "false")

    answer = house.guest().post("/api/user/login", {"username": "root", "password": ROOT_PASSWORD})

    assert answer.status == 403


def test_an_access_token_does_what_a_session_does(house: House) -> None:
    token = house.root.get("/api/user/token").data
    script = script_with(house, token, user_id=1)

    assert script.get("/api/user/self").data["username"] == "root"
    script.headers["Authorization"] = token
    assert script.get("/api/user/self").status == 200
    del script.headers["Veloera-User"]
    assert script.get("/api/user/self").status == 401


def test_only_the_newest_access_token_works(house: House) -> None:
    first, second = (house.root.get("/api/user/token").data for _ in range(2))

    assert script_with(house, first, user_id=1).get("/api/user/self").status == 401
    assert script_with(house, second, user_id=1).get("/api/user/self").status == 200


def test_a_ban_ends_an_access_token_too(house: House) -> None:
    customer = house.user()
    script = script_with(house, customer.get("/api/user/token").data, customer.id)

    house.root.post("/api/user/manage", {"id": customer.id, "action": "disable"})

    assert script.get("/api/user/self").status == 401


def test_no_answer_repeats_an_access_token_or_a_password(house: House) -> None:
    token = house.root.get("/api/user/token").data

    for path in ("/api/user/self", "/api/user/", "/api/user/1", "/api/ledger/audit"):
        body = str(house.root.get(path).body)
        assert token not in body
        assert ROOT_PASSWORD not in body
        assert "argon2" not in body


def test_a_directory_that_fell_behind_lets_nobody_in(house: House) -> None:
    house.books.directory.failure = RuntimeError("stuck")

    answer = house.root.get("/api/user/self")

    assert answer.status == 503


class Clock:
    """Told, not read."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def broken(*_: object) -> None:
    raise OSError("the database is gone")


def root_of(house: House) -> User:
    found = house.books.directory.user(1)
    assert found is not None
    return found


def work_s(stored: str) -> float:
    """Seconds of computing that a wrong password costs; the least of a few, which no neighbour disturbed."""
    tries = []
    for _ in range(5):
        before = process_time()
        passwords.opens(stored, "wrong password")
        tries.append(process_time() - before)
    return min(tries)


def script_with(house: House, token: str, user_id: int) -> Person:
    script = house.guest()
    script.headers = {"Authorization": f"Bearer {token}", "Veloera-User": str(user_id)}
    return script


def test_what_another_process_made_a_moment_ago_is_known_here(house: House) -> None:
    customer = house.user()
    token = customer.get("/api/user/token").data
    elsewhere = House(house.books.folder)

    script = script_with(elsewhere, token, customer.id)
    fresh = house.root.get("/api/user/token").data
    of_root = script_with(elsewhere, fresh, 1)

    assert script.get("/api/user/self").status == 200
    assert of_root.get("/api/user/self").status == 200
    elsewhere.close()
