"""`veloera ledger balance` and `ledger account`: an account as it was, from the read models or from the log, and why."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import cast

import pytest

from cli.as_of import moment_of
from tests.cli.shell import Record, Shell

ROOT = "user:1:available"
OPENING_MILLS = 100_000_000_000
COST_MILLS = 34_000
"""Of a call that `Shell.charges` books."""


def groups(story: Record) -> list[Record]:
    return cast("list[Record]", story["groups"])


def facts(shell: Shell) -> list[Record]:
    return shell.records("ledger", "tail", "--after", "0")


def postings(fact: Record) -> dict[str, int]:
    """What a fact moved, by account."""
    moved: dict[str, int] = {}
    for account, delta in cast("dict[str, list[tuple[str, int]]]", fact["fact"]).get("postings", []):
        moved[account] = moved.get(account, 0) + delta
    return moved


def test_a_balance_is_what_is_there_now(shell: Shell) -> None:
    shell.charges()

    found = shell.record("ledger", "balance", ROOT)

    assert found == {"account": ROOT, "position": len(facts(shell)), "balance_mills": OPENING_MILLS - COST_MILLS}
    assert "99,999,966.000 quota" in shell.says("ledger", "balance", ROOT)


def test_a_balance_at_every_position_is_the_same_in_both_ways(shell: Shell) -> None:
    shell.charges()
    shell.charges(settled=False)
    moved = [postings(fact).get(ROOT, 0) for fact in facts(shell)]
    positions = [0, 3, 5, 6, len(moved) - 1, len(moved), len(moved) + 1_000]

    asked = [("ledger", "balance", ROOT, "--position", str(position)) for position in positions]
    read = [shell.record(*typed) for typed in asked]
    added = [shell.record(*typed, "--from-log") for typed in asked]

    assert read == added
    assert [found["balance_mills"] for found in read] == [sum(moved[:position]) for position in positions]
    assert read[-1]["position"] == len(moved)


def test_a_balance_at_a_moment_is_the_same_in_both_ways_however_the_moment_is_written(shell: Shell) -> None:
    request_id = shell.charges()
    held, settled = [fact for fact in facts(shell) if fact["stream"] == request_id]
    at_ms = cast(int, held["at_ms"])
    written = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at_ms % 1000:03d}"
    expected = OPENING_MILLS - 50_000 if settled["at_ms"] != at_ms else OPENING_MILLS - COST_MILLS

    moments = [str(at_ms), f"{written}Z", written, f"{written}+00:00"]
    read = [shell.record("ledger", "balance", ROOT, "--at", moment) for moment in moments]
    added = [shell.record("ledger", "balance", ROOT, "--at", moment, "--from-log") for moment in moments]
    before = shell.record("ledger", "balance", ROOT, "--at", "2000-01-01", "--from-log")

    assert [found["balance_mills"] for found in read + added] == [expected] * 8
    assert [found["position"] for found in read] == [found["position"] for found in added]
    assert (before["position"], before["balance_mills"]) == (0, 0)


def test_a_platform_account_and_a_sequence_have_balances_too(shell: Shell) -> None:
    shell.charges()

    revenue, promised, users = (
        shell.record("ledger", "balance", account) for account in ("platform:revenue", "platform:opening", "seq:user")
    )

    assert (revenue["balance_mills"], promised["balance_mills"]) == (COST_MILLS, -OPENING_MILLS)
    assert users["balance_mills"] == 1
    assert shell.says("ledger", "balance", "seq:user").endswith(": 1\n")


def test_from_the_log_it_is_right_whatever_the_read_models_say(shell: Shell) -> None:
    shell.charges()
    shell.record("ledger", "balance", ROOT)
    with sqlite3.connect(shell.folder / "read.db") as connection:
        connection.execute("UPDATE statements_v1 SET balance_mills = 7")
    connection.close()

    read, added = (shell.record("ledger", "balance", ROOT, *way) for way in ((), ("--from-log",)))

    assert read["balance_mills"] == 7
    assert added["balance_mills"] == OPENING_MILLS - COST_MILLS


def test_an_account_explains_what_it_holds_by_what_moved_it(shell: Shell) -> None:
    shell.charges()
    shell.charges()

    story = shell.record("ledger", "account", ROOT)

    assert (story["opening_mills"], story["closing_mills"]) == (0, OPENING_MILLS - 2 * COST_MILLS)
    assert {(one["topic"], one["count"], one["delta_mills"]) for one in groups(story)} == {
        ("quota.granted/1", 1, OPENING_MILLS),
        ("charge.held/1", 2, -100_000),
        ("charge.settled/1", 2, 100_000 - 2 * COST_MILLS),
    }
    assert story["three_ways_agree"] is True


def test_a_story_begins_and_ends_where_it_is_told_to(shell: Shell) -> None:
    first, second = shell.charges(), shell.charges()
    at = {cast(str, fact["stream"]): cast(int, fact["position"]) for fact in facts(shell)}

    story = shell.record("ledger", "account", ROOT, "--after", str(at[first]), "--position", str(at[second] - 1))

    assert (story["after"], story["position"]) == (at[first], at[second] - 1)
    assert story["opening_mills"] == OPENING_MILLS - COST_MILLS
    assert [(one["topic"], one["delta_mills"]) for one in groups(story)] == [("charge.held/1", -50_000)]
    assert story["closing_mills"] == OPENING_MILLS - COST_MILLS - 50_000


def test_a_story_for_people_says_how_it_began_what_moved_and_that_three_ways_agree(shell: Shell) -> None:
    shell.charges()

    said = shell.says("ledger", "account", ROOT)

    assert said.startswith(f"{ROOT} had 0 mills after position 0\n")
    assert "charge.settled" in said
    assert "99,999,966.000 quota after position" in said
    assert said.endswith("sum, statement and kept balance agree\n")
    assert "agree" not in shell.says("ledger", "account", "platform:revenue")


def test_a_balance_that_no_fact_made_ends_with_all_three_numbers_and_the_exit_code_of_a_difference(
    shell: Shell,
) -> None:
    shell.charges()
    with sqlite3.connect(shell.folder / "ledger.db") as connection:
        connection.execute("UPDATE balances SET balance = balance + 7 WHERE account = ?", (ROOT,))
    connection.close()

    found = shell.run("ledger", "account", ROOT, "--json")

    assert found.exit_code == 1
    for number in (OPENING_MILLS - COST_MILLS, OPENING_MILLS - COST_MILLS + 7):
        assert str(number) in found.stderr
    assert '"three_ways_agree":false' in found.stdout.replace(" ", "")


@pytest.mark.parametrize("command", ["balance", "account"])
@pytest.mark.parametrize(
    "typed",
    [
        ("--position", "1", "--at", "2026-11-22"),
        ("--at", "yesterday"),
        ("--at", "²"),
        ("--at", ""),
        ("--at", "9" * 5_000),
        ("--position", "-1"),
        ("--position", "1.5"),
        ("--position", str(2**63)),
    ],
)
def test_what_is_no_position_and_no_moment_is_a_wrong_use(shell: Shell, command: str, typed: tuple[str, ...]) -> None:
    code, said = shell.refuses("ledger", command, ROOT, *typed)

    assert code == 2
    assert "--position" in said or "--at" in said


def test_a_story_that_ends_before_it_begins_is_a_wrong_use(shell: Shell) -> None:
    assert shell.refuses("ledger", "account", ROOT, "--after", "5", "--position", "4")[0] == 2
    assert shell.refuses("ledger", "account", ROOT, "--after", str(2**63 - 1))[0] == 2


@pytest.mark.parametrize("account", ["user:9:available", "nonsense", "user:1:available:"])
@pytest.mark.parametrize("command", ["balance", "account"])
def test_an_account_on_which_nothing_ever_moved_is_not_found(shell: Shell, command: str, account: str) -> None:
    code, said = shell.refuses("ledger", command, account)

    assert code == 3
    assert account in said
    if command == "balance":
        assert shell.refuses("ledger", command, account, "--from-log") == (code, said)


def test_an_account_on_which_nothing_had_moved_by_then_is_not_found_and_held_nothing(shell: Shell) -> None:
    assert shell.refuses("ledger", "account", ROOT, "--position", "1")[0] == 3
    assert shell.record("ledger", "balance", ROOT, "--position", "1")["balance_mills"] == 0


@pytest.mark.parametrize("command", ["balance", "account"])
def test_a_folder_without_a_ledger_is_not_found(empty: Shell, command: str) -> None:
    assert empty.refuses("ledger", command, ROOT)[0] == 3
    assert not empty.folder.exists()


@pytest.mark.parametrize(
    ("typed", "ms"),
    [
        ("1795370400123", 1_795_370_400_123),
        ("2026-11-22T18:00:00.123Z", 1_795_370_400_123),
        ("2026-11-22T19:00:00.123+01:00", 1_795_370_400_123),
        ("2026-11-22T18:00:00", 1_795_370_400_000),
        ("2026-11-22", 1_795_305_600_000),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_a_moment_is_read_to_the_millisecond_and_without_a_zone_is_utc(typed: str, ms: int) -> None:
    assert moment_of(typed, None) == ms
