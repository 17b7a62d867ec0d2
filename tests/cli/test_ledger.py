import json
import select
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from cli.ledger import what
from tests.cli.shell import Record, Shell

COMMAND = Path(sys.executable).with_name("veloera")
COST_MILLS = (10 * 1 + 12 * 2) * 1_000
"""Of the call that `Shell.charges` books: 10 tokens in, 12 out, at the sandbox's ratios 1 and 2."""


def tampered(shell: Shell, sql: str) -> None:
    """Change stored bytes behind the ledger's back."""
    with sqlite3.connect(shell.folder / "ledger.db") as connection:
        connection.execute("DROP TRIGGER stored_events_never_change")
        connection.execute(sql)
    connection.close()


def test_a_statement_shows_hold_and_settlement_with_the_balance_after_each(shell: Shell) -> None:
    request_id = shell.charges()

    lines = [line for line in shell.records("ledger", "statement") if line["request_id"] == request_id]

    available = [line for line in lines if line["account"] == "user:1:available"]
    assert [line["what"] for line in available] == ["held", "settled"]
    assert [line["delta_mills"] for line in available] == [-50_000, 50_000 - COST_MILLS]
    assert available[-1]["balance_mills"] == 100_000_000_000 - COST_MILLS
    assert [line["balance_mills"] for line in lines if line["account"] == "user:1:held"] == [50_000, 0]


def test_a_statement_for_people_shows_quota_with_three_decimals(shell: Shell) -> None:
    request_id = shell.charges()

    said = shell.says("ledger", "statement")

    assert "99,999,966.000" in said
    assert request_id in said


def test_a_statement_can_be_of_one_account_of_one_user_or_of_all(shell: Shell) -> None:
    shell.says("user", "create", "alice", "--quota", "7.5")

    accounts = {
        typed: [line["account"] for line in shell.records("ledger", "statement", *typed)]
        for typed in [("platform:promo",), ("--user", "alice"), ("--user", "2"), ("--all",)]
    }

    assert list(accounts.values()) == [
        ["platform:promo"],
        ["user:2:available"],
        ["user:2:available"],
        ["user:1:available", "user:2:available"],
    ]


def test_a_statement_goes_on_after_a_position(shell: Shell) -> None:
    for _ in range(3):
        shell.charges()
    everything = shell.records("ledger", "statement", "user:1:available")

    after = shell.records("ledger", "statement", "user:1:available", "--after", str(everything[2]["position"]))

    assert after == everything[3:]
    assert shell.records("ledger", "statement", "user:1:available", "-n", "2") == everything[-2:]


def test_an_account_on_which_nothing_moved_is_not_found(shell: Shell) -> None:
    assert shell.refuses("ledger", "statement", "user:9:available")[0] == 3
    assert shell.refuses("ledger", "statement", "--user", "nobody")[0] == 3
    assert shell.refuses("ledger", "statement", "user:1:held", "--all")[0] == 2


@pytest.mark.parametrize("written", [lambda hex_: hex_, lambda hex_: str(UUID(hex_)), lambda hex_: hex_.upper()])
def test_a_call_is_explained_by_its_request_id_with_dashes_or_without(shell: Shell, written: object) -> None:
    request_id = shell.charges()

    found = shell.record("ledger", "explain", written(request_id))  # type: ignore[operator]

    assert found["request_id"] == request_id
    assert (found["state"], found["held_mills"], found["cost_mills"], found["paid_mills"]) == (
        "settled", 50_000, COST_MILLS, COST_MILLS,
    )  # fmt: skip
    assert found["usage"] == {"input": 10, "output": 12}
    assert [cast(Record, fact)["topic"] for fact in cast(list[object], found["facts"])] == [
        "charge.held/1",
        "charge.settled/1",
    ]


def test_an_explanation_for_people_shows_the_arithmetic_and_the_rounding(shell: Shell) -> None:
    said = shell.says("ledger", "explain", shell.charges())

    assert "12 output x 1 x 2 (completion) x 1 (group) = 24,000 mills" in said
    assert "rounded half up once: 34,000 mills" in said
    assert "charged 34.000 quota (34,000 mills)" in said


def test_a_call_that_is_still_open_is_explained_as_far_as_it_is(shell: Shell) -> None:
    found = shell.record("ledger", "explain", shell.charges(settled=False))

    assert (found["state"], found["held_mills"], found["paid_mills"]) == ("open", 50_000, 0)
    assert "usage" not in found


def test_what_is_no_call_is_not_explained(shell: Shell) -> None:
    assert shell.refuses("ledger", "explain", "0199b3c2d4e5f60718293a4b5c6d7e8f")[0] == 3
    assert shell.refuses("ledger", "explain", "yesterday's")[0] == 2


def test_a_sound_ledger_is_proven_with_its_counts(shell: Shell) -> None:
    shell.charges()
    shell.charges(settled=False)

    report, said = shell.record("ledger", "verify"), shell.says("ledger", "verify")

    assert (report["sound"], report["open_holds"], report["differences"]) == (True, 1, [])
    assert report["totals_mills"] == {"platform:opening": -100_000_000_000, "platform:revenue": COST_MILLS}
    assert "Every balance equals its events" in said


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE balances SET balance = balance + 1 WHERE account = 'user:1:available'", "user:1:available"),
        ("UPDATE balances SET floor = -1 WHERE account = 'user:1:held'", "user:1:held"),
        ("DELETE FROM holds", "hold "),
        (
            "UPDATE stored_events SET state = replace(state, '100000000000', '100000000001') WHERE topic = 'quota.granted/1'",
            "user:1:available",
        ),
        ("UPDATE stored_events SET topic = 'quota.stolen/1' WHERE topic = 'quota.granted/1'", "position 6"),
    ],
)
def test_tampering_is_found_and_the_first_account_that_differs_is_named(shell: Shell, sql: str, named: str) -> None:
    shell.charges()
    shell.charges(settled=False)
    tampered(shell, sql)

    as_json, as_text = shell.run("ledger", "verify", "--json"), shell.run("ledger", "verify")

    report = json.loads(as_json.stdout)
    assert (as_json.exit_code, as_text.exit_code) == (1, 1)
    assert report["sound"] is False
    assert named in str(report["first_difference"])
    assert f"first at {named}" in as_text.stdout


def test_the_tail_is_the_newest_facts_in_their_order(shell: Shell) -> None:
    request_id = shell.charges()

    newest = shell.records("ledger", "tail", "-n", "2")
    everything = shell.records("ledger", "tail", "--after", "0")

    assert [line["topic"] for line in newest] == ["charge.held/1", "charge.settled/1"]
    assert {line["stream"] for line in newest} == {request_id}
    assert everything[-2:] == newest
    assert [line["position"] for line in everything] == list(range(1, len(everything) + 1))


def test_the_tail_for_people_shows_what_moved_or_what_was_said(shell: Shell) -> None:
    shell.charges()
    shell.says("user", "create", "alice")
    shell.says("user", "disable", "alice")

    said = shell.says("ledger", "tail", "--after", "0")

    assert "user:1:available -50.000, user:1:held 50.000" in said
    assert "user.standing_changed/1   id=2, role=1, status=2" in said


def test_the_tail_follows_until_it_is_interrupted(shell: Shell) -> None:
    command = [str(COMMAND), "--data-dir", str(shell.folder), "ledger", "tail", "-n", "0", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        # It looks at the head when it starts, whenever that is: calls go on until the first of them is shown.
        request_ids = [shell.charges()]
        while not select.select([following.stdout], [], [], 0.5)[0]:
            request_ids.append(shell.charges())

        shown = json.loads(following.stdout.readline())
        following.send_signal(signal.SIGINT)

        assert shown["stream"] in request_ids
        assert following.wait(10) == 0


def test_what_happened_is_said_in_words() -> None:
    assert [what(topic) for topic in ("charge.held/1", "charge.settled_late/1", "key.limit_changed/1")] == [
        "held",
        "settled late",
        "limit changed",
    ]
