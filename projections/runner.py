"""The only module that drives projections: it reads pages of facts, folds them, and moves the positions in the same commit.

Whoever holds the fold lock folds; all others look every second whether it is free. A fact that cannot be folded ends the
folding there, with its position; trouble that passes (a full disk, a lock) is waited for.
"""

import logging
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import msgspec

from ledger.errors import LedgerUnavailable, UnknownFact
from ledger.follow import Follow
from ledger.mapper import Recorded, decode
from ledger.store import LedgerReader, LedgerStore
from ledger.vault import Vault
from projections import readdb
from projections.catalogue import projections
from projections.errors import FoldStopped, ProjectionError
from projections.projection import Projection, check_understood

PAGE_LIMIT_FACTS = 1000
FOLLOW_PERIOD_S = 0.02
"""Facts that arrive within one period are folded together: the price of a commit is paid once."""
MAX_POSITION = 2**63 - 1
TAKEOVER_PERIOD_S = 1.0
LOOK_AROUND_S = 0.25
RETRY_FIRST_S = 0.05
RETRY_MOST_S = 2.0

log = logging.getLogger("veloera.projections")


class Folding:
    """Projections over one database that is open for folding. Not before the fold lock is held, or on a file of one's own."""

    def __init__(self, connection: sqlite3.Connection, found: Sequence[Projection]) -> None:
        check_understood(found)
        self._connection = connection
        self._projections = found
        self.positions = self._prepare()

    @property
    def position(self) -> int:
        """Up to here everything is folded."""
        return min(self.positions.values())

    def step(self, reader: LedgerReader, *, limit: int = PAGE_LIMIT_FACTS, upto: int | None = None) -> int:
        """Fold the next page, of facts not after `upto`; how many facts there were, 0 at the end.

        Projections that are behind the others, as a new version is, catch up first.
        Raises FoldStopped; LedgerUnavailable and sqlite3.OperationalError may pass.
        """
        low = self.position
        behind = [projection for projection in self._projections if self.positions[projection.name] == low]
        ahead = [position for position in self.positions.values() if position > low]
        stop = min([*ahead, MAX_POSITION if upto is None else upto])
        page = read_page(reader, low, limit, stop)
        if page:
            self._fold_and_move(behind, page, page[-1].position)
        return len(page)

    def retire(self) -> None:
        """Drop the tables of versions that are no more, once their successors have caught up."""
        mine = {projection.name for projection in self._projections}
        stored = self._connection.execute("SELECT name, tables FROM positions").fetchall()
        with self._transaction() as cursor:
            for name, tables in stored:
                if name not in mine:
                    for table in msgspec.json.decode(tables, type=list[str]):
                        cursor.execute(f'DROP TABLE IF EXISTS "{table}"')
                    cursor.execute("DELETE FROM positions WHERE name = ?", (name,))

    def _prepare(self) -> dict[str, int]:
        with self._transaction() as cursor:
            for projection in self._projections:
                for statement in projection.ddl:
                    cursor.execute(statement)
                tables = msgspec.json.encode(list(projection.tables)).decode()
                cursor.execute("INSERT OR IGNORE INTO positions VALUES (?, 0, ?)", (projection.name, tables))
            stored = readdb.positions_in(self._connection)
        return {projection.name: stored[projection.name] for projection in self._projections}

    def _fold_and_move(self, behind: Sequence[Projection], page: list[Recorded], position: int) -> None:
        try:
            self._commit(behind, page, position)
        except FoldStopped:
            raise
        except Exception as error:  # whatever a fold raises, the fact it stumbled over is found and named
            if isinstance(error, sqlite3.Error) and readdb.passes(error):
                raise
            for recorded in page if len(page) > 1 else ():
                self._fold_and_move(behind, [recorded], recorded.position)
            name = ", ".join(projection.name for projection in behind)
            raise FoldStopped(position, name, repr(error)) from error

    def _commit(self, behind: Sequence[Projection], page: list[Recorded], position: int) -> None:
        with self._transaction() as cursor:
            for projection in behind:
                handles = projection.handles
                facts = [recorded for recorded in page if type(recorded.fact) in handles]
                if facts:
                    projection.fold(cursor, facts)
                cursor.execute(
                    "UPDATE positions SET position = ? WHERE name = ? AND position = ?",
                    (position, projection.name, self.positions[projection.name]),
                )
                if cursor.rowcount != 1:
                    raise FoldStopped(position, projection.name, "somebody else has folded it meanwhile")
        for projection in behind:
            self.positions[projection.name] = position

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Cursor]:
        cursor = self._connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk has rolled back by itself
                cursor.execute("ROLLBACK")
            raise
        finally:
            cursor.close()


def read_page(reader: LedgerReader, after: int, limit: int, upto: int = MAX_POSITION) -> list[Recorded]:
    """The next facts, decoded, up to the first that is unknown. Raises FoldStopped when that is the very next one."""
    page: list[Recorded] = []
    for stored in reader.read_stored(after, limit):
        if stored.position > upto:
            break
        try:
            fact = decode(stored.topic, stored.state)
        except UnknownFact as error:
            if page:
                break
            raise FoldStopped(stored.position, "", str(error)) from error
        page.append(Recorded(stored.position, stored.stream, stored.version, fact))
    return page


class Runner:
    """Folds a ledger into read.db for as long as it holds the fold lock. One thread uses it."""

    def __init__(
        self,
        folder: Path,
        store: LedgerStore,
        vault: Vault,
        *,
        period_s: float = FOLLOW_PERIOD_S,
        page_limit: int = PAGE_LIMIT_FACTS,
    ) -> None:
        self._path = readdb.path_in(folder)
        self._store = store
        self._projections = projections(vault)
        self._period_s = period_s
        self._page_limit = page_limit
        self._lock = readdb.fold_lock(folder)
        self._turn = readdb.turn_lock(folder)

    def run(self, stop: threading.Event) -> None:
        """Fold and follow until `stop`; wait for the lock while another process has it.

        Raises ProjectionError: FoldStopped at a fact that cannot be folded, or for a read.db that is damaged.
        """
        retry_s = RETRY_FIRST_S
        while not stop.is_set():
            if self._turn.is_taken() or not self._lock.take():
                stop.wait(TAKEOVER_PERIOD_S)
                continue
            try:
                self._follow(stop)
                retry_s = RETRY_FIRST_S
            except (LedgerUnavailable, sqlite3.Error) as error:
                if isinstance(error, sqlite3.Error) and not readdb.passes(error):
                    raise ProjectionError(
                        f"{self._path} is damaged ({error}): `veloera replay --fresh` makes a new one"
                    ) from error
                log.warning("folding waits", extra={"error": str(error), "retry_s": retry_s})
                stop.wait(retry_s)
                retry_s = min(2 * retry_s, RETRY_MOST_S)
            finally:
                self._lock.release()

    def fold_if_nobody_does(self, head: int, timeout_s: float) -> bool:
        """Fold up to a position, unless another holds the lock; False when another does. Stops when the time is over."""
        if self._turn.is_taken() or not self._lock.take():
            return False
        deadline = monotonic() + timeout_s
        try:
            with self._opened() as folding:
                while folding.position < head and folding.step(self._store, limit=self._page_limit):
                    if monotonic() >= deadline:
                        break
        finally:
            self._lock.release()
        return True

    def close(self) -> None:
        self._lock.close()
        self._turn.close()

    @contextmanager
    def _opened(self) -> Generator[Folding]:
        connection = readdb.open_for_folding(self._path)
        try:
            yield Folding(connection, self._projections)
        finally:
            connection.close()

    def _follow(self, stop: threading.Event) -> None:
        follow = Follow(self._store, period_s=self._period_s)
        with self._opened() as folding:
            number = readdb.inode(self._path)
            folded = 0
            retired = False
            while not stop.is_set():
                if self._turn.is_taken() or readdb.inode(self._path) != number:
                    return
                # After a page one looks again, even a short one: it ends before a fact that is unknown.
                if not folded and not follow.wait(LOOK_AROUND_S):
                    continue
                folded = folding.step(self._store, limit=self._page_limit)
                if not folded and not retired:
                    folding.retire()
                    retired = True
                if folded < self._page_limit:
                    stop.wait(self._period_s)
