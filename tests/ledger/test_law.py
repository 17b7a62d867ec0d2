"""Every store writes what the smallest store writes, byte for byte, whichever process commits and whatever fails on the way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from domain.books import EMPTY, Guard, Result
from domain.commands import Command
from ledger.errors import LedgerUnavailable
from ledger.sqlite import SqliteStore
from ledger.verify import verify
from tests.harness.postgres import shared_server
from tests.laws import calls
from tests.laws.asks import START_MS, Ask, ask
from tests.laws.memory import Memory, Written
from tests.laws.seeds import SEED
from tests.laws.test_batches import partition, resolved
from tests.ledger.places import FilePlace, Place, ServerPlace, Store
from tests.ledger.test_atomic import break_statement, mend

LAW = settings(max_examples=40, deadline=None, database=None)
PROCESSES = 3
NAMES = count(1)


@seed(SEED)
@settings(LAW, max_examples=12)
@given(asks=st.lists(ask(), min_size=4, max_size=60), number=st.integers(0, 2**32))
def test_one_log_of_commands_gives_the_same_answers_bytes_and_balances_in_memory_in_a_file_and_on_a_server(
    asks: list[Ask], number: int
) -> None:
    """In each place several processes commit in turn."""
    draws = random.Random(number)
    batches = split(resolved(asks), draws)
    memory = Memory()
    expected = [memory.commit(batch, START_MS).results for batch in batches]

    for kind in ("file", "server"):
        with fresh(kind) as place:
            stores = [place.open(clock=lambda: START_MS) for _ in range(PROCESSES)]
            found = [draws.choice(stores).commit(batch) for batch in batches]
            written, balances = contents(stores[0])
            report = verify(stores[0])
            close(stores)

        assert found == expected, kind
        assert written == memory.log, kind
        assert balances == {name: guard for name, guard in memory.balances.items() if guard != EMPTY}, kind
        assert report.differences == (), kind


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
        place = FilePlace(Path(folder))
        stores = [place.open(clock=lambda: START_MS) for _ in range(2)]
        found = [stubborn(draws.choice(stores), batch, draws) for batch in batches]
        written, balances = contents(stores[0])
        close(stores)

    assert found == expected
    assert written == memory.log
    assert balances == {name: guard for name, guard in memory.balances.items() if guard != EMPTY}


def test_a_free_call_of_somebody_unknown_does_not_stand_in_the_way_of_whoever_is_registered_next(store: Store) -> None:
    """Its balance of nothing is written, and then the new user's is."""
    free = store.commit([calls.hold(0, user=1, key=1)])[0]

    registered = store.commit([calls.customer(grant=500)])[0]

    assert (free.status, registered.status, registered.id) == ("created", "created", 1)
    assert store.balance("user:1:available") == Guard(500, 0)
    assert verify(store).is_sound


def split(batch: list[Command], draws: random.Random) -> list[list[Command]]:
    return partition(batch, {draws.randrange(1, len(batch)) for _ in range(len(batch) // 3)})


@contextmanager
def fresh(kind: str) -> Iterator[Place]:
    """A place that goes at the end of the block: an example has no fixtures of its own."""
    if kind == "file":
        with TemporaryDirectory() as folder:
            yield FilePlace(Path(folder))
        return
    place = ServerPlace(shared_server().dsn(), f"law_{next(NAMES)}")
    try:
        yield place
    finally:
        place.drop()


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


def contents(store: Store) -> tuple[list[Written], dict[str, Guard]]:
    written = [(fact.stream, fact.version, fact.topic, fact.state) for fact in store.read_stored(0, 10**6)]
    return written, {name: guard for name, guard in store.balances() if guard != EMPTY}


def close(stores: list[Store] | list[SqliteStore]) -> None:
    for store in stores:
        store.close()
