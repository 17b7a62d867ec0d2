"""The log again from its beginning: the same facts give the same rows, byte for byte, or somebody is told which differ.

The replayed tables lie in a file of their own beside the live one. `replay` compares the two at one position, or puts the new
file in the place of the old.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import msgspec

from domain import events
from ledger.store import LedgerStore
from ledger.vault import Vault
from projections import people, readdb
from projections.catalogue import TABLES, projections
from projections.errors import ReplayRefused
from projections.runner import PAGE_LIMIT_FACTS, Folding, Runner

MAX_EXAMPLES = 20
"""Differences shown of each table; all are counted."""
MAX_ROUNDS = 100
CLOSE_FACTS = 5 * PAGE_LIMIT_FACTS
STEP_ASIDE_TIMEOUT_S = 10.0

Progress = Callable[[int, int], None]
"""Called with (position, goal) after each page."""
Row = tuple[int | str | None, ...]


class Difference(NamedTuple):
    """A row that is not the same. None: there is no such row."""

    table: str
    live: Row | None
    replayed: Row | None


class TableReport(NamedTuple):
    table: str
    rows: int
    """Rows that the replay made."""
    differences: int
    examples: tuple[Difference, ...]
    """The first twenty."""


class ReplayReport(NamedTuple):
    """What a replay did, and in which rows the live read model differs from it (none, in a sound one)."""

    position: int
    facts: int
    seconds: float
    """Spent on folding."""
    digest: str
    """Of every row that was made, see `dump_digest`."""
    tables: tuple[TableReport, ...]
    """Empty when the live read model was exchanged for the new one."""
    switched: bool

    @property
    def is_same(self) -> bool:
        return not any(table.differences for table in self.tables)

    @property
    def facts_per_s(self) -> float:
        return self.facts / self.seconds if self.seconds else 0.0


def replay(
    folder: Path, store: LedgerStore, vault: Vault, *, fresh: bool = False, progress: Progress | None = None
) -> ReplayReport:
    """Fold the whole log beside the live read model, and compare them; with `fresh`, exchange them.

    Serving goes on: the live one is folded and read meanwhile. Raises ReplayRefused, FoldStopped, LedgerUnavailable.
    """
    with _alone(folder):
        building = _Building(folder / "read.replay.db", store, vault, progress)
        try:
            return _exchanged(building, folder) if fresh else _compared(building, folder)
        finally:
            building.discard()


def dump_digest(reader: sqlite3.Connection, tables: Mapping[str, str] = TABLES) -> str:
    """SHA-256, hex, over every row of the tables in the order of their names and keys. The same log gives the same."""
    digest = hashlib.sha256()
    encoder = msgspec.msgpack.Encoder()
    for table, key in sorted(tables.items()):
        digest.update(table.encode())
        for row in reader.execute(f"SELECT * FROM {table} ORDER BY {key}"):
            digest.update(encoder.encode(row))
    return digest.hexdigest()


class _Building:
    """A read model that grows beside the live one."""

    def __init__(self, path: Path, store: LedgerStore, vault: Vault, progress: Progress | None) -> None:
        self.path = path
        self.store = store
        self.vault = vault
        self.connection = readdb.open_scratch(path)
        self.folding = Folding(self.connection, projections(vault))
        self.facts = 0
        self.seconds = 0.0
        self._progress = progress

    def fold(self, goal: int) -> None:
        """Fold up to a position, and not past it."""
        began = monotonic()
        while self.folding.position < goal:
            folded = self.folding.step(self.store, upto=goal)
            self.facts += folded
            if self._progress is not None:
                self._progress(self.folding.position, goal)
            if not folded:
                break
        self.seconds += monotonic() - began

    def approach(self, goal: Callable[[], int]) -> None:
        """Fold until the goal is near, which moves on meanwhile."""
        for _ in range(MAX_ROUNDS):
            self.fold(goal())
            if goal() - self.folding.position < CLOSE_FACTS:
                return

    def discard(self) -> None:
        self.connection.close()
        readdb.remove(self.path)


def _compared(building: _Building, folder: Path) -> ReplayReport:
    runner = Runner(folder, building.store, building.vault)
    try:
        runner.fold_if_nobody_does(0, 0)  # a folder in which nothing was folded yet has empty tables to compare with
    finally:
        runner.close()
    readers = readdb.Readers(readdb.path_in(folder))
    try:
        building.approach(lambda: _live_position(readers, building))
        with readers.reading() as live:
            position = _one_position(live, building)
            building.fold(position)
            moving = _people_in_motion(building.store, position)
            tables = tuple(_compare(live, building.connection, table, moving) for table in sorted(TABLES))
        return _report(building, tables, switched=False)
    finally:
        readers.close()


def _exchanged(building: _Building, folder: Path) -> ReplayReport:
    building.approach(building.store.head)
    turn, lock = readdb.turn_lock(folder), readdb.fold_lock(folder)
    try:
        if not (turn.take_within(STEP_ASIDE_TIMEOUT_S) and lock.take_within(STEP_ASIDE_TIMEOUT_S)):
            raise ReplayRefused("whoever folds the live read model did not step aside: is it stopped? Try again")
        building.fold(building.store.head())
        report = _report(building, (), switched=True)
        readdb.finish(building.connection, building.path)
        readdb.exchange(readdb.path_in(folder), building.path)
        return report
    finally:
        lock.close()  # closing lets go of it
        turn.close()


def _report(building: _Building, tables: tuple[TableReport, ...], *, switched: bool) -> ReplayReport:
    return ReplayReport(
        building.folding.position,
        building.facts,
        building.seconds,
        dump_digest(building.connection),
        tables,
        switched,
    )


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    lock = readdb.FileLock(folder / "read.replay.lock")
    try:
        if not lock.take():
            raise ReplayRefused("another replay runs in this folder: wait for it")
        yield
    finally:
        lock.close()


def _live_position(readers: readdb.Readers, building: _Building) -> int:
    with readers.reading() as live:
        found = readdb.positions_in(live)
        return min(found.get(name, 0) for name in building.folding.positions)


def _one_position(live: sqlite3.Connection, building: _Building) -> int:
    found = readdb.positions_in(live)
    positions = {found.get(name) for name in building.folding.positions}
    position = positions.pop()
    if positions or position is None:
        raise ReplayRefused("a new version of a read model is still being built: compare when it has caught up")
    return position


def _people_in_motion(store: LedgerStore, position: int) -> set[int]:
    """Users whose profile changed after a position: the vault is ahead of the log there, and has erased what was."""
    moving: set[int] = set()
    while page := store.read_log(position, PAGE_LIMIT_FACTS, without_charges=True):
        moving |= {
            recorded.fact.id
            for recorded in page
            if isinstance(recorded.fact, events.UserProfileChanged | events.UserDeleted)
        }
        position = page[-1].position
    return moving


def _compare(live: sqlite3.Connection, replayed: sqlite3.Connection, table: str, moving: set[int]) -> TableReport:
    count = differences = 0
    examples: list[Difference] = []
    for left, right in _pairs(_rows(live, table, moving), _rows(replayed, table, moving)):
        count += right is not None
        if left != right:
            differences += 1
            if len(examples) < MAX_EXAMPLES:
                examples.append(Difference(table, left, right))
    return TableReport(table, count, differences, tuple(examples))


def _rows(reader: sqlite3.Connection, table: str, moving: set[int]) -> Iterator[tuple[Row, Row]]:
    """(key, row), in the order of the key."""
    cursor = reader.execute(f"SELECT * FROM {table} ORDER BY {TABLES[table]}")
    names = [column[0] for column in cursor.description]
    keys = [names.index(name) for name in TABLES[table].split(", ")]
    personal = {names.index(name) for name in people.PERSONAL_COLUMNS} if table in people.People.tables else set[int]()
    for row in cursor:
        key = tuple(row[at] for at in keys)
        if personal and row[0] in moving:
            yield key, tuple(None if at in personal else value for at, value in enumerate(row))
        else:
            yield key, row


def _pairs(
    left: Iterator[tuple[Row, Row]], right: Iterator[tuple[Row, Row]]
) -> Iterator[tuple[Row | None, Row | None]]:
    """Rows with the same key side by side; None where one side has no such row."""
    ours, theirs = next(left, None), next(right, None)
    while ours and theirs:
        if ours[0] == theirs[0]:
            yield ours[1], theirs[1]
            ours, theirs = next(left, None), next(right, None)
        elif _sortable(ours[0]) < _sortable(theirs[0]):
            yield ours[1], None
            ours = next(left, None)
        else:
            yield None, theirs[1]
            theirs = next(right, None)
    while ours:
        yield ours[1], None
        ours = next(left, None)
    while theirs:
        yield None, theirs[1]
        theirs = next(right, None)


def _sortable(key: Row) -> list[tuple[bool, int, str]]:
    """SQLite's order: numbers before texts, texts by code point."""
    return [(False, part, "") if isinstance(part, int) else (True, 0, str(part)) for part in key]
