"""A commit is whole or did not happen, wherever it breaks: facts, balances, holds and vault entries together."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec
import pytest

from domain import streams
from domain.commands import Append, Command, Part, VaultPut
from domain.events import SettingChanged
from ledger.errors import LedgerUnavailable
from ledger.sqlite import SqliteStore
from ledger.verify import verify
from tests.laws import calls
from tests.ledger.places import FilePlace, Place, Rows, Store

NEW = VaultPut("new", b"sealed")
STATEMENTS = 40
"""More than one commit of the batch below has."""


class Faulty:
    """A cursor that fails once, before or after its n-th statement."""

    def __init__(self, cursor: sqlite3.Cursor, fails_at: int, *, after: bool) -> None:
        self._cursor = cursor
        self._left = fails_at
        self._after = after
        self.statements: list[str] = []

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        return self._run(self._cursor.execute, sql, *parameters)

    def executemany(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        return self._run(self._cursor.executemany, sql, *parameters)

    def close(self) -> None:
        self._cursor.close()

    def _run(self, run: Callable[..., sqlite3.Cursor], sql: str, *parameters: object) -> sqlite3.Cursor:
        self.statements.append(sql)
        self._left -= 1
        if self._left == 0 and not self._after:
            raise sqlite3.OperationalError("the test broke this statement")
        done = run(sql, *parameters)
        if self._left == 0:
            raise sqlite3.OperationalError("the test broke this statement after it ran")
        return done


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_commit_that_breaks_at_any_statement_left_everything_or_nothing(tmp_path: Path, after: bool) -> None:
    survived: list[str] = []
    for n in range(1, STATEMENTS):
        store = prepared(tmp_path / str(n))
        before = contents(store.folder)
        faulty = break_statement(store, n, after=after)
        try:
            store.commit(batch())
        except LedgerUnavailable:
            mend(store)
            if contents(store.folder) != before:
                survived.append(faulty.statements[n - 1])
            answers = [result.status for result in store.commit(batch())]
            assert answers in (["created"] * 5, ["exists"] * 5)
        assert is_whole(store)
        store.close()

    assert survived == (["COMMIT"] if after else [])


def test_a_commit_that_is_interrupted_at_any_instruction_left_everything_or_nothing(tmp_path: Path) -> None:
    store = prepared(tmp_path / "data")
    before, interrupted, instructions = contents(store.folder), 0, 1

    while interrupted < 1_000:
        stop_after(store, instructions)
        try:
            store.commit(batch())
            break
        except LedgerUnavailable:
            stop_after(store, 0)
            assert contents(store.folder) == before
            interrupted, instructions = interrupted + 1, instructions + 1 + instructions // 16

    stop_after(store, 0)
    assert 20 < interrupted < 1_000
    assert is_whole(store)
    store.close()


def test_a_batch_with_a_bug_in_it_leaves_nothing_behind(store: Store, place: Place) -> None:
    before = place.contents()

    with pytest.raises(AssertionError):
        store.commit([calls.customer(grant=500), moving_append()])

    assert place.contents() == before


def prepared(folder: Path) -> SqliteStore:
    """A ledger with a customer, an open hold and a secret."""
    store = SqliteStore(folder, synchronous="OFF")
    store.commit(
        [calls.customer(grant=5_000), calls.key_of(1, limit=3_000), calls.hold(200, calls.charge(1), capped=True)]
    )
    setting = Part(streams.setting("smtp"), None, (SettingChanged(key="smtp", secret="old"),))
    store.commit([Append(parts=(setting,), vault=(VaultPut("old", b"sealed"),))])
    return store


def batch() -> list[Command]:
    """A command for every table: each of them answers `exists` when it comes again."""
    return [
        calls.hold(700, calls.charge(2), capped=True),
        calls.extend(1, 100, calls.charge(1), capped=True),
        calls.settle(150, calls.charge(1), capped=True, extensions=1),
        msgspec.structs.replace(calls.customer("bob", grant=10, token="bob"), vault=(NEW,), vault_delete=("old",)),
        calls.hold(5, calls.charge(3)),
    ]


def moving_append() -> Append:
    """What `decide` takes for a bug of its caller, and does not answer."""
    fact = SettingChanged(key="smtp", postings=(("platform:promo", 1),))
    return Append(parts=(Part(streams.setting("smtp"), None, (fact,)),))


def contents(folder: Path) -> Rows:
    return FilePlace(folder).contents()


def is_whole(store: SqliteStore) -> bool:
    """All of the batch is there, and it adds up."""
    holds = [hold.amount for hold in store.open_holds()]
    refs = [ref for ref, _ in contents(store.folder)["vault"]]
    return verify(store).is_sound and (store.head(), holds, refs) == (12, [700, 5], ["new"])


def break_statement(store: SqliteStore, n: int, *, after: bool) -> Faulty:
    faulty = Faulty(store._cursor, n, after=after)
    store._cursor = faulty  # type: ignore[assignment]  # stands in for a disk that fails
    return faulty


def mend(store: SqliteStore) -> None:
    store._cursor = store._connection.cursor()


def stop_after(store: SqliteStore, instructions: int) -> None:
    """SQLite gives up once, after about so many instructions of its machine; 0: never."""
    ticks = count(1)
    handler = (lambda: next(ticks) == instructions) if instructions else None
    store._connection.set_progress_handler(handler, 1)
