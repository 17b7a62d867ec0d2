"""Pages of facts, folded into tables: rows and positions move in the same commit.

A fact that cannot be folded ends the folding there, with its position; everything before it is kept.
"""

from collections.abc import Container, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from domain.events import TOPICS
from ledger.errors import UnknownFact
from ledger.mapper import Recorded, decode
from ledger.store import LedgerReader
from projections.database import Database, Folder, positions_in
from projections.dialects import json_without_nul
from projections.errors import FoldStopped
from projections.projection import Facts, Projection, check_understood

PAGE_LIMIT_FACTS = 1000
MAX_POSITION = 2**63 - 1
FACT_OF: Final = attrgetter("fact")


class Folding:
    """Projections over a read model that is open for folding."""

    def __init__(self, database: Database, folder: Folder, found: Sequence[Projection]) -> None:
        check_understood(found)
        self._database = database
        self._folder = folder
        self._projections = found
        self._wanted = frozenset(fact.TOPIC for projection in found for fact in projection.handles)
        self.positions = self._prepare()

    @property
    def position(self) -> int:
        """Up to here everything is folded."""
        return min(self.positions.values())

    def step(self, reader: LedgerReader, *, limit: int = PAGE_LIMIT_FACTS, upto: int | None = None) -> int:
        """Fold the next page, of facts not after `upto`; how many facts there were, 0 at the end.

        Projections that are behind the others, as a new version is, catch up first.
        Raises FoldStopped; LedgerUnavailable and what the database raises may pass.
        """
        low = self.position
        behind = [projection for projection in self._projections if self.positions[projection.name] == low]
        ahead = [position for position in self.positions.values() if position > low]
        stop = min([*ahead, MAX_POSITION if upto is None else upto])
        page = read_page(reader, low, limit, stop, self._wanted)
        if page.length:
            self._fold_and_move(behind, page.facts, page.last)
        return page.length

    def retire(self) -> None:
        """Drop the tables of versions that are no more, once their successors have caught up."""
        mine = {projection.name for projection in self._projections}
        with self._folder.transaction() as cursor:
            for name, tables in cursor.execute("SELECT name, tables FROM positions").fetchall():
                if name not in mine:
                    for table in msgspec.json.decode(tables, type=list[str]):
                        cursor.execute(f'DROP TABLE IF EXISTS "{table}"')
                    cursor.execute("DELETE FROM positions WHERE name = ?", (name,))

    def _prepare(self) -> dict[str, int]:
        begin = "INSERT INTO positions VALUES (?, 0, ?) ON CONFLICT (name) DO NOTHING"
        with self._folder.transaction() as cursor:
            for projection in self._projections:
                for statement in projection.ddl:
                    cursor.execute(self._folder.dialect.ddl(statement))
                tables = msgspec.json.encode(list(projection.tables)).decode()
                cursor.execute(begin, (projection.name, tables))
            stored = positions_in(cursor)
        return {projection.name: stored[projection.name] for projection in self._projections}

    def _fold_and_move(self, behind: Sequence[Projection], page: list[Recorded], position: int) -> None:
        try:
            self._commit(behind, page, position)
        except FoldStopped:
            raise
        except Exception as error:  # whatever a fold raises, the fact it stumbled over is found and named
            if self._database.passes(error):
                raise
            for recorded in page if len(page) > 1 else ():
                self._fold_and_move(behind, [recorded], recorded.position)
            name = ", ".join(projection.name for projection in behind)
            raise FoldStopped(position, name, repr(error)) from error

    def _commit(self, behind: Sequence[Projection], page: list[Recorded], position: int) -> None:
        names = [projection.name for projection in behind]
        of_kinds = _OfKinds(page)
        with self._folder.transaction() as cursor:
            # The positions first: who finds them elsewhere has nothing to fold here, and folds nothing.
            dialect = cursor.dialect
            cursor.execute(
                f"UPDATE positions SET position = ? WHERE {dialect.among('name')} AND position = ?",
                (position, dialect.values_of(names), self.positions[names[0]]),
            )
            if cursor.rowcount != len(names):
                raise FoldStopped(position, ", ".join(names), "somebody else has folded it meanwhile")
            for projection in behind:
                facts = of_kinds.among(projection.handles)
                if facts:
                    projection.fold(cursor, facts)
        self.positions.update(dict.fromkeys(names, position))


class _OfKinds:
    """The facts of a page by kind: most projections handle the same few of those that are there, or none."""

    def __init__(self, page: list[Recorded]) -> None:
        self._page = page
        self._there = frozenset(map(type, map(FACT_OF, page)))
        self._found: dict[Facts, list[Recorded]] = {frozenset(): [], self._there: page}

    def among(self, handles: Facts) -> list[Recorded]:
        wanted = self._there & handles
        found = self._found.get(wanted)
        if found is None:
            found = self._found[wanted] = [recorded for recorded in self._page if type(recorded.fact) in wanted]
        return found


class LogPage(NamedTuple):
    """Facts that came one after the other."""

    facts: list[Recorded]
    """Those that are wanted."""
    last: int
    """The position of the last one, wanted or not."""
    length: int


def read_page(
    reader: LedgerReader, after: int, limit: int, upto: int = MAX_POSITION, wanted: Container[str] | None = None
) -> LogPage:
    """The next facts, up to the first that is unknown; decoded, if their topics are wanted.

    Raises FoldStopped when the unknown one is the very next.
    """
    page = reader.read_stored(after, limit)
    while page and page[-1].position > upto:
        page.pop()
    # One look at all of them: to look for a NUL in each costs a fifth of decoding it, and few pages have a backslash at all.
    escaped = b"\\" in b"".join([stored.state for stored in page])
    facts: list[Recorded] = []
    for count, stored in enumerate(page):
        topic, state = stored.topic, stored.state
        if wanted is None or topic in wanted or topic not in TOPICS:
            try:
                fact = decode(topic, json_without_nul(state) if escaped else state)
            except UnknownFact as error:
                if not count:
                    raise FoldStopped(stored.position, "", str(error)) from error
                del page[count:]
                break
            facts.append(tuple.__new__(Recorded, (stored.position, stored.stream, stored.version, fact)))
    return LogPage(facts, page[-1].position if page else after, len(page))
