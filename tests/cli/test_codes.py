from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.shell import Shell


def topics(shell: Shell, last: int) -> list[object]:
    return [line["topic"] for line in shell.records("ledger", "tail", "-n", str(last))]


def test_codes_are_issued_with_texts_and_redeemed_once_by_each_user(shell: Shell) -> None:
    shell.says("user", "create", "alice")
    made = shell.records("code", "create", "spring", "12.5", "--count", "2")

    redeemed = shell.record("code", "redeem", "alice", str(made[0]["text"]))

    assert [(code["id"], code["amount_mills"]) for code in made] == [(1, 12_500), (2, 12_500)]
    assert (redeemed["credited_mills"], redeemed["available_mills"]) == (12_500, 12_500)
    assert topics(shell, 1) == ["code.redeemed/1"]
    assert shell.refuses("code", "redeem", "alice", str(made[0]["text"]))[0] == 4
    assert shell.refuses("code", "redeem", "root", str(made[0]["text"]))[0] == 4
    assert shell.refuses("code", "redeem", "alice", "nothing")[0] == 3


def test_a_gift_code_is_for_as_many_users_as_it_says(shell: Shell) -> None:
    shell.says("user", "create", "alice")
    shell.says("code", "create", "hello", "1", "--gift", "--uses", "1", "--text", "HELLO")

    shell.says("code", "redeem", "alice", "HELLO")

    assert shell.refuses("code", "redeem", "root", "HELLO")[0] == 4
    shown = shell.record("code", "show", "1", "--reveal")
    assert (shown["text"], shown["status"], shown["uses"], shown["used_by"]) == ("HELLO", "used up", 1, 2)
    assert (shown["gift"], shown["max_uses"], shown["budget_mills"]) == (True, 1, 0)


def test_codes_are_listed_and_their_texts_only_when_asked_for(shell: Shell) -> None:
    shell.says("code", "create", "spring", "1", "--text", "SECRET", "--until", "2030-01-01")
    shell.says("code", "create", "autumn", "1", "--gift")

    listed = shell.records("code", "list")
    found = shell.records("code", "list", "--keyword", "spr", "--reveal")

    assert [(code["name"], code["max_uses"]) for code in listed] == [("autumn", None), ("spring", 1)]
    assert "text" not in listed[1]
    assert [(code["text"], code["valid_until_ms"]) for code in found] == [("SECRET", 1_893_456_000_000)]
    assert "SECRET" not in shell.says("code", "list")


def test_a_code_is_switched_off_on_and_deleted(shell: Shell) -> None:
    shell.says("code", "create", "spring", "3", "--text", "SPRING")

    shell.says("code", "disable", "1")
    refused = shell.refuses("code", "redeem", "root", "SPRING")
    shell.says("code", "enable", "1")
    deleted = shell.record("code", "delete", "1")

    assert refused[0] == 4
    assert "disabled" in refused[1]
    assert deleted["returned_mills"] == 3_000
    assert shell.records("code", "list") == []
    assert shell.refuses("code", "redeem", "root", "SPRING")[0] == 3
    assert shell.refuses("code", "enable", "1")[0] == 3


def test_new_terms_hold_for_the_uses_that_are_left(shell: Shell) -> None:
    shell.says("code", "create", "spring", "3", "--gift", "--uses", "4", "--text", "SPRING")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")

    changed = shell.record("code", "change", "1", "--quota", "5.5", "--from", tomorrow)

    assert (changed["amount_mills"], changed["budget_mills"], changed["name"]) == (5_500, 22_000, "spring")
    assert shell.refuses("code", "redeem", "root", "SPRING")[0] == 4
    assert shell.refuses("code", "change", "1")[0] == 2


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (["", "1"], 2),
        (["a-name-that-is-too-long", "1"], 2),
        (["spring", "0"], 4),
        (["spring", "-1"], 2),
        (["spring", "1", "--uses", "2"], 2),
        (["spring", "1", "--count", "2", "--text", "A"], 2),
        (["spring", "1", "--from", "2030-01-01", "--until", "2029-01-01"], 4),
        (["spring", "1", "--text", "TAKEN"], 4),
    ],
    ids=str,
)
def test_a_code_that_cannot_be_is_refused(shell: Shell, typed: list[str], code: int) -> None:
    shell.says("code", "create", "first", "1", "--text", "TAKEN")

    assert shell.refuses("code", "create", *typed)[0] == code
    assert len(shell.records("code", "list")) == 1
