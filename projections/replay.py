"""The log again from its beginning: the same facts give the same rows, byte for byte, or somebody is told which differ.

The replayed tables grow beside the live ones, which are folded and read meanwhile. `replay` compares the two at one position,
and puts the new ones in the place of the live ones where that is asked for; `switch_back` takes that back.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import NamedTuple

from domain import events
from ledger.store import LedgerStore
from ledger.vault import Vault
from projections.building import Growth, Progress, Told, fingerprint
from projections.catalogue import projections
from projections.comparison import Comparison, Difference, TableReport, compare, dump_digest
from projections.database import Beside, Database, Reader, positions_in
from projections.errors import ReadModelUnavailable, ReplayRefused
from projections.folding import PAGE_LIMIT_FACTS
from projections.pace import Pace, peak_mb
from projections.parts import Part, Parts, Start, shared_out
from projections.places import ReadPlace, database_at
from projections.runner import Runner

__all__ = [
    "Difference",
    "Pace",
    "Progress",
    "ReplayReport",
    "TableReport",
    "dump_digest",
    "replay",
    "switch_back",
]

STEP_ASIDE_TIMEOUT_S = 10.0
CATCH_UP_TIMEOUT_S = 10.0
CATCH_UP_PERIOD_S = 0.05
STEADY = Pace()


class ReplayReport(NamedTuple):
    """What a replay did, and in which rows the live read model differed from it (none, in a sound one)."""

    position: int
    resumed_at: int
    """Where an interrupted replay had been, which this one went on with; 0: it began anew."""
    facts: int
    seconds: float
    """Spent on folding, rests included."""
    peak_mb: float
    """Resident memory, of all processes together."""
    digest: str
    """Of every row that was made, see `dump_digest`; "" when nothing was compared."""
    tables: tuple[TableReport, ...]
    """Empty when nothing was compared."""
    switched: bool

    @property
    def is_same(self) -> bool:
        return not any(table.differences for table in self.tables)

    @property
    def facts_per_s(self) -> float:
        return self.facts / self.seconds if self.seconds else 0.0


def replay(
    place: ReadPlace,
    store: LedgerStore,
    vault: Vault,
    *,
    fresh: bool = False,
    comparing: bool = True,
    restart: bool = False,
    processes: int = 1,
    start: Start | None = None,
    pace: Pace = STEADY,
    progress: Told | None = None,
) -> ReplayReport:
    """Fold the whole log beside the live read model, and compare them; with `fresh`, put the new one in its place.

    Goes on where an interrupted replay was, unless `restart`. `start` starts the processes of a replay by several. What was
    built is kept while the rows differ, for a replay with `fresh` to go on with, and thrown away when they are the same.
    Raises ReplayRefused, FoldStopped, LedgerUnavailable.
    """
    with _alone_at(place) as database:
        building = _Building(database, store, vault, pace, progress)
        begun_at = building.begun_at() if building.beside.begin(restart=restart) else 0
        if processes > 1 and start is not None:
            building.fold_in_parts(processes, start)
        return _finished(building, place, begun_at=begun_at, fresh=fresh, comparing=comparing)


def switch_back(
    place: ReadPlace, store: LedgerStore, vault: Vault, *, pace: Pace = STEADY, progress: Told | None = None
) -> int:
    """Put the read model that was live before the last switch in its place again, caught up; the position it is at.

    The two are exchanged: another call takes this one back. Raises ReplayRefused, FoldStopped, LedgerUnavailable.
    """
    with _alone_at(place) as database:
        old = database.old()
        if old is None:
            raise ReplayRefused("no read model was kept here: there was no switch yet")
        try:
            growth = Growth(database, old, projections(vault), pace, progress)
            pace.gently(lambda: growth.approach(store, store.head))
            with _in_the_seat(database):
                growth.fold(store, store.head(), hurried=True)
                old.close()
                database.switch_back()
            return growth.position
        finally:
            old.close()


@contextmanager
def _alone_at(place: ReadPlace) -> Generator[Database]:
    """The only replay here. What its database cannot do now is left for the next one."""
    database = database_at(place)
    broken = database.errors
    try:
        with database.alone() as alone:
            if not alone:
                raise ReplayRefused("another replay runs here: wait for it")
            yield database
    except broken as error:
        raise ReplayRefused(f"{database.name}: {error}; a new replay goes on from there") from error
    finally:
        database.close()


class _Building:
    """A replay at work."""

    def __init__(self, database: Database, store: LedgerStore, vault: Vault, pace: Pace, told: Told | None) -> None:
        self.database = database
        self.beside: Beside = database.beside(fingerprint())
        self.store = store
        self.vault = vault
        self.pace = pace
        self.told = told
        self.facts_of_parts = 0
        self.seconds_of_parts = 0.0
        self.peak_of_parts_mb = 0.0

    def grow(self) -> Growth:
        return Growth(self.database, self.beside.open(), projections(self.vault), self.pace, self.told)

    def fold_in_parts(self, processes: int, start: Start) -> None:
        """Fold up to where the log ends now, by several processes."""
        began = monotonic()
        parts = shared_out(self._positions(), processes, self.store.head())
        working = Parts(parts, start, self.told)
        working.finish()
        self._gather(parts)
        self.facts_of_parts, self.peak_of_parts_mb = working.facts, working.peak_mb
        self.seconds_of_parts = monotonic() - began

    def begun_at(self) -> int:
        return min(self._positions().values())

    def _positions(self) -> dict[str, int]:
        """Tables are made where there are none, for the parts to find."""
        growth = self.grow()
        growth.folder.close()
        return growth.folding.positions

    def _gather(self, parts: Sequence[Part]) -> None:
        tables = {projection.name: list(projection.tables) for projection in projections(self.vault)}
        for part in parts:
            if part.number:
                self.beside.gather(part.number, [table for name in part.names for table in tables[name]], part.names)


def _finished(building: _Building, place: ReadPlace, *, begun_at: int, fresh: bool, comparing: bool) -> ReplayReport:
    growth = building.grow()
    try:
        compared = (
            building.pace.gently(lambda: _compared(building, growth, place, needed=not fresh)) if comparing else None
        )
        if fresh:
            _switch(building, growth)
    finally:
        growth.folder.close()
    if not fresh and compared is not None and not any(table.differences for table in compared.tables):
        building.beside.discard()
    return ReplayReport(
        growth.position,
        begun_at,
        growth.facts + building.facts_of_parts,
        growth.seconds + building.seconds_of_parts,
        peak_mb() + building.peak_of_parts_mb,
        compared.digest if compared else "",
        compared.tables if compared else (),
        fresh,
    )


def _switch(building: _Building, growth: Growth) -> None:
    def come_near() -> None:
        growth.approach(building.store, building.store.head)
        building.beside.settle()
        growth.approach(building.store, building.store.head)

    building.pace.gently(come_near)
    with _in_the_seat(building.database):
        growth.fold(building.store, building.store.head(), hurried=True)
        growth.folder.close()
        building.beside.switch()


@contextmanager
def _in_the_seat(database: Database) -> Generator[None]:
    with database.stepping_aside(STEP_ASIDE_TIMEOUT_S) as is_ours:
        if not is_ours:
            raise ReplayRefused("whoever folds the live read model did not step aside: is it stopped? Try again")
        yield


def _compared(building: _Building, growth: Growth, place: ReadPlace, *, needed: bool) -> Comparison | None:
    """None where the live read model cannot be read, and need not be."""
    unreadable: tuple[type[Exception], ...] = (ReadModelUnavailable, *building.database.errors)
    if not needed:
        unreadable = (*unreadable, ReplayRefused)
    try:
        runner = Runner(place, building.store, building.vault)
        try:
            runner.fold_if_nobody_does(0, 0)  # where nothing was folded yet there are empty tables to compare with
            growth.approach(building.store, lambda: _position_of_live(building.database, growth))
            with _live_not_behind(building.database, runner, growth) as live:
                position = _one_position(live, growth)
                growth.fold(building.store, position)
                moving = _people_in_motion(building.store, position)
                with growth.folder.reading() as replayed:
                    return compare(live, replayed, moving, building.pace.check)
        finally:
            runner.close()
    except unreadable as error:
        if needed:
            raise ReplayRefused(f"{error}: `veloera replay --fresh` makes a new one") from error
        return None


@contextmanager
def _live_not_behind(database: Database, runner: Runner, growth: Growth) -> Generator[Reader]:
    """One moment of the live read model, at the place of the replayed one or after it. What was left by another may be ahead."""
    deadline = monotonic() + CATCH_UP_TIMEOUT_S
    while True:
        with database.reading() as live:
            if _one_position(live, growth) >= growth.position:
                yield live
                return
        if monotonic() >= deadline:
            raise ReplayRefused("the live read model is behind what is built beside it: is whoever folds it stopped?")
        if not runner.fold_if_nobody_does(growth.position, CATCH_UP_TIMEOUT_S):
            sleep(CATCH_UP_PERIOD_S)


def _position_of_live(database: Database, growth: Growth) -> int:
    with database.reading() as live:
        found = positions_in(live)
        return min(found.get(name, 0) for name in growth.folding.positions)


def _one_position(live: Reader, growth: Growth) -> int:
    found = positions_in(live)
    positions = {found.get(name) for name in growth.folding.positions}
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
