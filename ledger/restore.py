"""Filling an empty ledger from an archive: facts, positions, bytes and seals as they were; balances and holds folded anew.

All of it in one transaction, so a process that dies on the way leaves the ledger empty.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from domain.books import Guard
from ledger.archive import Archive, Item, VaultEntry, VaultKey
from ledger.errors import ArchiveBroken
from ledger.mapper import decode
from ledger.place import is_postgres
from ledger.standing import Standing, digest_of
from ledger.store import OpenHold, Seal, StoredFact

BATCH_ROWS = 512


class Tables(Protocol):
    """The tables of an empty ledger, within one transaction."""

    def put_facts(self, facts: Sequence[StoredFact]) -> None: ...

    def put_seals(self, seals: Sequence[Seal]) -> None: ...

    def put_keys(self, keys: Sequence[VaultKey]) -> None: ...

    def put_secrets(self, entries: Sequence[VaultEntry]) -> None: ...

    def put_balances(self, balances: Iterable[tuple[str, Guard]]) -> None: ...

    def put_holds(self, holds: Iterable[OpenHold]) -> None: ...


class Fillable(Protocol):
    """A store that an archive can be read into."""

    def filling(self) -> AbstractContextManager[Tables]:
        """One transaction, committed at the end and rolled back by an error. Raises NotEmpty and LedgerUnavailable."""
        ...


def filling_of(folder: Path, dsn: str = "") -> Fillable:
    """The ledger that `ledger.place.open_store` opens, to be filled; its tables must be there."""
    if is_postgres(dsn):
        from ledger.postgres_restore import PostgresFilling  # 15 MB that the embedded store does not need

        return PostgresFilling(dsn)
    from ledger.sqlite_restore import SqliteFilling

    return SqliteFilling(folder)


def restore(store: Fillable, archive: Archive) -> Standing:
    """Read a whole archive into an empty ledger; how it stands then.

    Raises:
        ArchiveBroken: it is not whole, or its facts do not leave the balances and holds that it was written with.
        NotEmpty: something is there already.
    """
    if not archive.header.is_whole:
        raise ArchiveBroken(
            "it does not begin with the ledger's first fact: only a whole one can be read into a ledger"
        )
    standing = Standing()
    with store.filling() as tables:
        batches = _Batches(tables)
        for item in archive.items():
            batches.add(item)
            if isinstance(item, StoredFact):
                standing.fold(item.stream, decode(item.topic, item.state))
        batches.flush()
        tables.put_balances(standing.balances.items())
        tables.put_holds(standing.holds.values())
        stands = digest_of(standing.balances.items(), standing.holds.values())
        if archive.totals is None or stands != archive.totals.standing:
            raise ArchiveBroken("its facts do not leave the balances and holds that it was written with")
    return standing


class _Batches:
    """Hands rows on a few hundred at a time."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._facts: list[StoredFact] = []
        self._seals: list[Seal] = []
        self._keys: list[VaultKey] = []
        self._secrets: list[VaultEntry] = []

    def add(self, item: Item) -> None:
        match item:
            case StoredFact():
                self._facts.append(item)
            case Seal():
                self._seals.append(item)
            case VaultKey():
                self._keys.append(item)
            case VaultEntry():
                self._secrets.append(item)
        if len(self._facts) >= BATCH_ROWS or len(self._secrets) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._facts:
            self._tables.put_facts(self._facts)
        if self._seals:
            self._tables.put_seals(self._seals)
        if self._keys:
            self._tables.put_keys(self._keys)
        if self._secrets:
            self._tables.put_secrets(self._secrets)
        for rows in (self._facts, self._seals, self._keys, self._secrets):
            rows.clear()
