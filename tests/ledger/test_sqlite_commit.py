"""What makes a commit of the embedded store cheap changes nothing: many rows a statement, and what the process wrote last from memory."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from ledger import sqlite_rows
from ledger.sqlite import SqliteStore
from ledger.sqlite_recorder import STATEMENTS_KEPT
from ledger.sqlite_rows import Rows
from ledger.verify import verify
from tests.laws import calls
from tests.ledger.places import FilePlace

BESIDES = 20
"""Statements of a commit that are not of a number of rows, and some of whoever else uses the connection."""


@pytest.mark.parametrize("count", [*range(140), 256, 257, 300])
def test_any_number_of_rows_is_written_in_their_order(count: int) -> None:
    rows = [(n, f"row {n}", None) for n in range(count)]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE things (number INTEGER NOT NULL, name TEXT, missing TEXT)")

        Rows("INSERT INTO things", 3).run(connection.cursor(), [value for row in rows for value in row])

        assert connection.execute("SELECT * FROM things ORDER BY rowid").fetchall() == rows


def test_a_connection_keeps_the_statements_of_every_commit() -> None:
    statements = {
        statement for rows in vars(sqlite_rows).values() if isinstance(rows, Rows) for _, statement in rows._statements
    }

    assert len(statements) + BESIDES <= STATEMENTS_KEPT


def test_a_charge_that_is_remembered_is_ended_with_all_its_extensions_only(in_file: FilePlace) -> None:
    with closing(in_file.open()) as store:
        store.commit(
            [calls.customer(grant=1_000), calls.hold(100), calls.extend(1, 50), calls.hold(10, calls.charge(2))]
        )

        too_few = store.commit([calls.settle(120), calls.settle(5, calls.charge(2), extensions=1)])
        right = store.commit([calls.settle(120, extensions=1), calls.settle(5, calls.charge(2))])

        assert [result.status for result in too_few] == ["stale", "stale"]
        assert [result.status for result in right] == ["created", "created"]
        assert verify(store).is_sound


def test_a_task_is_looked_up_although_the_charge_beside_it_is_remembered(in_file: FilePlace) -> None:
    """The task belongs to another charge."""
    with closing(in_file.open()) as store:
        prepare(store)

        alone = store.commit([calls.end_task("failed", calls.charge(2))])
        answers = store.commit([calls.settle(5, calls.charge(2)), calls.end_task("failed", calls.charge(2))])

        assert [result.status for result in alone] == ["invalid"]
        assert [result.status for result in answers] == ["created", "invalid"]
        assert verify(store).is_sound


def test_what_another_process_did_to_a_charge_that_is_remembered_is_seen(in_file: FilePlace) -> None:
    with closing(in_file.open()) as store, closing(in_file.open()) as other:
        prepare(store)
        other.commit([calls.extend(1, 5, calls.charge(2))])

        answers = store.commit([calls.settle(5, calls.charge(2)), calls.settle(5, calls.charge(2), extensions=1)])

        assert [result.status for result in answers] == ["stale", "created"]
        assert verify(store).is_sound


def prepare(store: SqliteStore) -> None:
    """A task that the first charge paid for, and an open charge."""
    store.commit([calls.customer(grant=1_000), calls.hold(100), calls.hold(10, calls.charge(2))])
    store.commit([calls.accept(60)])
