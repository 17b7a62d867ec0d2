"""The three-way check finds a balance that was changed where no fact changed it, on either side, and nothing else."""

from __future__ import annotations

import sqlite3

import pytest

from projections.checking import Checker, check
from projections.readmodel import ReadModel
from tests.projections.house import House

NAME = "user:1:available"


@pytest.fixture
def person(house: House) -> House:
    """One user and three calls."""
    key = house.key(house.user("ada"))
    for _ in range(3):
        house.call(1, key)
    return house


def test_a_sound_ledger_agrees_whether_the_read_model_is_current_or_behind(person: House, read: ReadModel) -> None:
    read.await_head()
    current = check(person.store, read, [NAME, "user:1:held", "seq:user"])

    person.call(1, 1)
    behind = check(person.store, read, [NAME, "user:1:held"])

    assert (current, behind) == ([], [])


def test_a_kept_balance_that_no_fact_made_is_found_with_all_three_numbers(person: House, read: ReadModel) -> None:
    read.await_head()
    before = person.store.balance(NAME)
    assert before is not None

    meddle(person, "ledger.db", "UPDATE balances SET balance = balance + 7 WHERE account = ?", NAME)

    disagreements = check(person.store, read, [NAME])
    assert disagreements
    found = disagreements[0]
    assert (found.summed, found.running, found.kept) == (before.balance, before.balance, before.balance + 7)


def test_a_statement_that_was_changed_is_found(person: House, read: ReadModel) -> None:
    read.await_head()

    meddle(
        person,
        "read.db",
        """UPDATE statements_v1 SET delta_mills = delta_mills + 7 WHERE entry = 0 AND account =
            (SELECT id FROM statement_accounts_v1 WHERE account = ?)""",
        NAME,
    )

    assert [one.account for one in check(person.store, read, [NAME]) or ()] == [NAME]


def test_a_checker_sees_every_account_in_turn_and_forgets_what_was_mended(person: House, read: ReadModel) -> None:
    read.await_head()
    checker = Checker(person.store, read)
    meddle(person, "ledger.db", "UPDATE balances SET balance = balance + 7 WHERE account = ?", NAME)

    for _ in range(2):
        checker.run()
    found = set(checker.disagreements)
    meddle(person, "ledger.db", "UPDATE balances SET balance = balance - 7 WHERE account = ?", NAME)
    for _ in range(2):
        checker.run()

    assert found == {NAME}
    assert checker.disagreements == {}
    assert checker.checked >= len(list(person.store.balances()))


def meddle(house: House, file: str, sql: str, account: str) -> None:
    connection = sqlite3.connect(house.folder / file)
    with connection:
        assert connection.execute(sql, (account,)).rowcount > 0
    connection.close()
