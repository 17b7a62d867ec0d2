"""The SQLite store writes what the smallest store writes, byte for byte, whichever process commits and whatever fails on the way."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from domain.books import EMPTY, Guard, Result
from domain.commands import Command
from ledger.errors import LedgerUnavailable
from ledger.sqlite import SqliteStore
from ledger.verify import verify
from tests.laws import calls
from tests.laws.asks import START_MS, Ask, ask
from tests.laws.memory import Memory, Written
from tests.laws.seeds import SEED
from tests.laws.test_batches import partition, resolved
from tests.ledger.test_atomic import break_statement, mend

LAW = settings(max_examples=40, deadline=None, database=None)
PROCESSES = 3


@seed(SEED)
@LAW
@given(asks=st.lists(ask(), min_size=4, max_size=60), number=st.integers(0, 2**32))
def test_several_processes_that_commit_in_turn_write_what_one_would(asks: list[Ask], number: int) -> None:
    draws = random.Random(number)
    batches = split(resolved(asks), draws)
    memory = Memory()
    expected = [memory.commit(batch, START_MS).results for batch in batches]

    with TemporaryDirectory() as folder:
        stores = [opened(Path(folder)) for _ in range(PROCESSES)]
        found = [draws.choice(stores).commit(batch) for batch in batches]
        written, balances = contents(stores[0])
        report = verify(stores[0])
        close(stores)

    assert found == expected
    assert written == memory.log
    assert balances == {name: guard for name, guard in memory.balances.items() if guard != EMPTY}
    assert report.differences == ()


@seed(SEED)
@settings(LAW, max_examples=25)
@given(asks=st.lists(ask(), min_size=4, max_size=40), number=st.integers(0, 2**32))
def test_commits_that_fail_and_are_tried_again_write_what_commits_that_do_not_fail_write(
    asks: list[Ask], number: int
) -> None:
    draws = random.Random(number)
    batches = split(resolved(asks), draws)
    memory = Memory()
    expected = [memory.commit(batch, START_MS).results for batch in batches]

    with TemporaryDirectory() as folder:
        stores = [opened(Path(folder)) for _ in range(2)]
        found = [stubborn(draws.choice(stores), batch, draws) for batch in batches]
        written, balances = contents(stores[0])
        close(stores)

    assert found == expected
    assert written == memory.log
    assert balances == {name: guard for name, guard in memory.balances.items() if guard != EMPTY}


def test_a_free_call_of_somebody_unknown_does_not_stand_in_the_way_of_whoever_is_registered_next(
    store: SqliteStore,
) -> None:
    """Its balance of nothing is written, and then the new user's is."""
    free = store.commit([calls.hold(0, user=1, key=1)])[0]

    registered = store.commit([calls.customer(grant=500)])[0]

    assert (free.status, registered.status, registered.id) == ("created", "created", 1)
    assert store.balance("user:1:available") == Guard(500, 0)
    assert verify(store).is_sound


def split(batch: list[Command], draws: random.Random) -> list[list[Command]]:
    return partition(batch, {draws.randrange(1, len(batch)) for _ in range(len(batch) // 3)})


def opened(folder: Path) -> SqliteStore:
    store = SqliteStore(folder, synchronous="OFF")
    store._now = lambda: START_MS  # type: ignore[method-assign]  # the same moment for both
    return store


def stubborn(store: SqliteStore, batch: list[Command], draws: random.Random) -> list[Result]:
    """Commit, on a disk that fails half of the time before some statement."""
    while True:
        is_broken = draws.random() < 0.5
        if is_broken:
            break_statement(store, draws.randrange(1, 12), after=False)
        try:
            return store.commit(batch)
        except LedgerUnavailable:
            assert is_broken, "nothing was in the way of this commit"
        finally:
            mend(store)


def contents(store: SqliteStore) -> tuple[list[Written], dict[str, Guard]]:
    with closing(sqlite3.connect(store.folder / "ledger.db")) as connection:
        sql = "SELECT originator_id, originator_version, topic, state FROM stored_events ORDER BY id"
        written: list[Written] = connection.execute(sql).fetchall()
    return written, {name: guard for name, guard in store.balances() if guard != EMPTY}


def close(stores: list[SqliteStore]) -> None:
    for store in stores:
        store.close()
