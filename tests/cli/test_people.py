from pathlib import Path

import pytest

from api.admin import passwords
from api.compose import open_books
from api.settings import Environment
from tests.cli.shell import Shell


def password_of(folder: Path, user_id: int) -> str:
    """The stored hash."""
    books = open_books(Environment(data_dir=folder))
    books.directory.catch_up()
    found = books.directory.user(user_id)
    assert found is not None
    stored = books.vault.text(found.password)
    books.close()
    return stored


def test_a_user_is_made_with_a_password_that_is_shown_once(shell: Shell) -> None:
    made = shell.record("user", "create", "alice", "--quota", "12.5", "--group", "vip", "--role", "admin")

    shown = shell.record("user", "show", "alice")
    assert (made["id"], made["available_mills"], made["role"], made["group"]) == (2, 12_500, "admin", "vip")
    assert passwords.opens(password_of(shell.folder, 2), str(made["password"]))
    assert "password" not in shown


def test_a_chosen_password_is_not_repeated(shell: Shell) -> None:
    made = shell.record("user", "create", "alice", "--password", "correct horse 9")

    assert "password" not in made
    assert passwords.opens(password_of(shell.folder, 2), "correct horse 9")


def test_a_new_user_starts_with_what_the_site_gives(shell: Shell) -> None:
    assert shell.record("user", "create", "alice")["available_mills"] == 0


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (["root"], 4),
        (["a@b"], 2),
        (["alice", "--password", "short"], 2),
        (["alice", "--quota", "0.0001"], 2),
        (["alice", "--quota", "much"], 2),
        (["alice", "--quota", "1e30"], 2),
    ],
)
def test_a_user_that_cannot_be_is_refused_in_a_sentence(shell: Shell, typed: list[str], code: int) -> None:
    assert shell.refuses("user", "create", *typed)[0] == code
    assert len(shell.records("user", "list")) == 1


def test_users_are_listed_with_what_they_have_and_spent(shell: Shell) -> None:
    shell.says("user", "create", "alice", "--quota", "100")
    shell.charges(user=2)

    alice, root = shell.records("user", "list")

    assert (alice["username"], alice["available_mills"], alice["used_mills"], alice["request_count"]) == (
        "alice", 66_000, 34_000, 1,
    )  # fmt: skip
    assert root["username"] == "root"
    assert [user["id"] for user in shell.records("user", "list", "--keyword", "ali")] == [2]


def test_a_list_for_people_has_aligned_columns(shell: Shell) -> None:
    header, row = shell.says("user", "list").splitlines()

    assert header.split() == [
        "id",
        "username",
        "role",
        "status",
        "group",
        "available",
        "held",
        "used",
        "request",
        "count",
    ]
    assert header.index("available") + len("available") == row.index("100,000,000.000") + len("100,000,000.000")


def test_a_user_is_found_by_id_and_by_name(shell: Shell) -> None:
    shell.says("user", "create", "77")

    by_name, by_id = shell.record("user", "show", "77"), shell.record("user", "show", "2")

    assert by_name == by_id
    assert shell.refuses("user", "show", "78")[0] == 3


def test_quota_is_set_by_the_difference_to_what_was_there(shell: Shell) -> None:
    shell.says("user", "create", "alice", "--quota", "10")

    target = shell.record("user", "set-quota", "alice", "25", "--reason", "goodwill")
    change = shell.record("user", "set-quota", "alice", "--by", "-30.5")

    assert (target["delta_mills"], target["available_mills"]) == (15_000, 25_000)
    assert (change["before_mills"], change["available_mills"]) == (25_000, -5_500)
    (adjusted, _) = [line for line in shell.records("ledger", "tail") if line["topic"] == "quota.adjusted/1"]
    assert isinstance(adjusted["fact"], dict)
    assert adjusted["fact"]["reason"] == "goodwill"


def test_quota_needs_a_target_or_a_difference(shell: Shell) -> None:
    assert shell.refuses("user", "set-quota", "root")[0] == 2
    assert shell.refuses("user", "set-quota", "root", "5", "--by", "5")[0] == 2
    assert shell.refuses("user", "set-quota", "nobody", "5")[0] == 3
    assert shell.refuses("user", "set-quota", "root", "--by", "9000000000000000")[0] == 4


def test_a_grant_for_one_reason_is_given_once(shell: Shell) -> None:
    first = shell.record("user", "grant", "root", "5", "--why", "spring")
    again = shell.record("user", "grant", "root", "5", "--why", "spring")
    other = shell.record("user", "grant", "root", "5")

    assert first["available_mills"] == again["available_mills"] == 100_000_005_000
    assert other["available_mills"] == 100_000_010_000
    assert shell.refuses("user", "grant", "root", "6", "--why", "spring")[0] == 4
    assert shell.refuses("user", "grant", "root", "0")[0] == 4


def test_a_user_is_switched_off_and_on_but_root_stays_on(shell: Shell) -> None:
    shell.says("user", "create", "alice")

    shell.says("user", "disable", "alice")
    disabled = shell.record("user", "show", "alice")["status"]
    shell.says("user", "enable", "alice")
    shell.says("user", "enable", "alice")

    assert (disabled, shell.record("user", "show", "alice")["status"]) == ("disabled", "enabled")
    assert shell.refuses("user", "disable", "root")[0] == 4


def test_a_new_password_opens_and_the_old_one_does_not(shell: Shell) -> None:
    made = shell.record("user", "password", "root")
    was_made = passwords.opens(password_of(shell.folder, 1), str(made["password"]))

    chosen = shell.record("user", "password", "root", "--password", "correct horse 9")

    assert was_made
    assert chosen == {"id": 1}
    assert passwords.opens(password_of(shell.folder, 1), "correct horse 9")
    assert not passwords.opens(password_of(shell.folder, 1), str(made["password"]))


def test_a_key_is_made_with_its_terms_and_shown_whole(shell: Shell) -> None:
    made = shell.record(
        "key", "create", "root", "--name", "laptop", "--limit", "10", "--models", "gpt-4o, m", "--ips", "10.0.0.0/8,::1",
        "--expires", "2030-01-01", "--group", "vip",
    )  # fmt: skip

    shown = shell.record("key", "show", "2", "--reveal")
    assert (made["left_mills"], made["models"], made["allow_ips"]) == (10_000, ["gpt-4o", "m"], ["10.0.0.0/8", "::1"])
    assert (made["expires_ms"], made["group"], made["status"]) == (1_893_456_000_000, "vip", "enabled")
    assert shown["key"] == made["key"]
    assert "key" not in shell.record("key", "show", "2")


def test_a_key_that_cannot_be_is_refused(shell: Shell) -> None:
    assert shell.refuses("key", "create", "root", "--ips", "everywhere")[0] == 2
    assert shell.refuses("key", "create", "nobody")[0] == 3
    assert shell.refuses("key", "create", "root", "--limit", "-1")[0] == 2


def test_keys_are_listed_as_they_act(shell: Shell) -> None:
    shell.says("key", "create", "root", "--name", "old", "--expires", "2020-01-01")
    shell.says("key", "create", "root", "--name", "spent", "--limit", "0")

    listed = {key["name"]: key["status"] for key in shell.records("key", "list", "root")}

    assert listed == {"spent": "exhausted", "old": "expired", "first key": "enabled"}


def test_a_limit_is_set_moved_and_taken_away(shell: Shell) -> None:
    set_, moved = shell.record("key", "limit", "1", "10"), shell.record("key", "limit", "1", "--by", "-2.5")
    none = shell.record("key", "limit", "1", "--none")

    assert [key["left_mills"] for key in (set_, moved, none)] == [10_000, 7_500, None]
    assert shell.refuses("key", "limit", "1", "--by", "-1")[0] == 4
    assert shell.refuses("key", "limit", "1")[0] == 2
    assert shell.refuses("key", "limit", "9", "1")[0] == 3


def test_a_key_is_switched_off_on_and_deleted(shell: Shell) -> None:
    disabled = shell.record("key", "disable", "1")["status"]
    enabled = shell.record("key", "enable", "1")["status"]
    shell.says("key", "delete", "1")

    assert (disabled, enabled) == ("disabled", "enabled")
    assert shell.records("key", "list", "root") == []
    assert shell.refuses("key", "show", "1")[0] == 3


def test_a_channel_is_made_with_a_credential_from_stdin_that_is_never_shown(shell: Shell) -> None:
    typed = ["--name", "main", "--base-url", "https://api.example.com", "--models", "a,b", "--groups", "default,vip"]
    shell.says("channel", "create", *typed, "--key-file", "-", "--priority", "5", stdin="sk-upstream\n")

    shown = shell.record("channel", "show", "2")

    books = open_books(Environment(data_dir=shell.folder))
    books.directory.catch_up()
    ((served,),) = books.directory.routes("vip", "b")
    books.close()
    assert (shown["type"], shown["models"], shown["groups"], shown["priority"]) == (
        "openai",
        ["a", "b"],
        ["default", "vip"],
        5,
    )
    assert "sk-upstream" not in str(shown)
    assert served.secret == "sk-upstream"


def test_a_channel_that_cannot_be_is_refused(shell: Shell) -> None:
    typed = ["channel", "create", "--name", "main", "--models", "a"]

    refused = [
        shell.refuses(*typed)[0],
        shell.refuses(*typed, "--key", "x", "--base-url", "ftp://example.com")[0],
        shell.refuses(*typed, "--key", "x", "--type", "telepathy")[0],
        shell.refuses(*typed, "--key", "x", "--key-file", "-")[0],
        shell.refuses(*typed, "--key-file", str(shell.folder / "none"))[0],
    ]

    assert refused == [2, 2, 2, 2, 2]
    assert len(shell.records("channel", "list")) == 1


def test_channels_are_found_by_model_group_and_name(shell: Shell) -> None:
    shell.says("channel", "create", "--name", "main", "--models", "gpt-x", "--groups", "vip", "--key", "x")

    found = [
        [channel["id"] for channel in shell.records("channel", "list", *typed)]
        for typed in [("--model", "gpt-x"), ("--group", "vip"), ("--keyword", "sand"), ("--model", "none"), ()]
    ]

    assert found == [[2], [2], [1], [], [2, 1]]


def test_a_channel_is_switched_off_on_and_deleted(shell: Shell) -> None:
    disabled = shell.record("channel", "disable", "1")["status"]
    enabled = shell.record("channel", "enable", "1")["status"]
    shell.says("channel", "delete", "1")

    assert (disabled, enabled) == ("switched off", "enabled")
    assert shell.records("channel", "list") == []
    assert shell.refuses("channel", "show", "1")[0] == 3
