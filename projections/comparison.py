"""Two read models row by row: how many rows differ, and the first of them. The same log gives the same rows, byte for byte."""

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from projections import people
from projections.catalogue import TABLES
from projections.database import Reader, Row

MAX_EXAMPLES = 20
"""Differences shown of each table; all are counted."""


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


class Comparison(NamedTuple):
    tables: tuple[TableReport, ...]
    digest: str
    """Of every row that the replay made, see `dump_digest`."""


def compare(live: Reader, replayed: Reader, moving: Container[int], check: Callable[[], object]) -> Comparison:
    """Both at one position. `moving`: users of whom the vault says another thing by now than it did when they were folded.

    `check` is called from time to time, and ends it by raising.
    """
    digest = Digest(check)
    tables = tuple(_compared(table, live, replayed, moving, digest) for table in sorted(TABLES))
    return Comparison(tables, digest.hex())


def dump_digest(reader: Reader, tables: Mapping[str, str] = TABLES) -> str:
    """SHA-256, hex, over every row of the tables in the order of their names and keys. The same log gives the same."""
    digest = Digest()
    for table in sorted(tables):
        digest.begin(table)
        for rows in reader.chunks(_selected(table, tables[table])):
            digest.add(rows)
    return digest.hex()


class Digest:
    """Of tables, row by row."""

    def __init__(self, check: Callable[[], object] = lambda: None) -> None:
        self._check = check
        self._hash = hashlib.sha256()
        self._encode = msgspec.msgpack.Encoder().encode

    def begin(self, table: str) -> None:
        self._hash.update(table.encode())

    def add(self, rows: Sequence[Row]) -> None:
        self._check()
        self._hash.update(b"".join(map(self._encode, rows)))

    def hex(self) -> str:
        return self._hash.hexdigest()


def _selected(table: str, key: str) -> str:
    return f"SELECT * FROM {table} ORDER BY {key}"


def _compared(table: str, live: Reader, replayed: Reader, moving: Container[int], digest: Digest) -> TableReport:
    digest.begin(table)
    query = _selected(table, TABLES[table])
    ours, theirs = live.chunks(query), _digested(replayed.chunks(query), digest)
    count = 0
    left, right = next(ours, []), next(theirs, [])
    while left and left == right:  # as they nearly always are: a thousand rows in one comparison
        count += len(right)
        left, right = next(ours, []), next(theirs, [])
    masked = moving if table in people.People.tables else ()
    rest = _pairs(_rows(table, left, ours, masked), _rows(table, right, theirs, masked))
    return _walked(table, count, rest)


def _digested(chunks: Iterator[list[Row]], digest: Digest) -> Iterator[list[Row]]:
    for rows in chunks:
        digest.add(rows)
        yield rows


def _walked(table: str, count: int, pairs: Iterator[tuple[Row | None, Row | None]]) -> TableReport:
    differences = 0
    examples: list[Difference] = []
    for live, replayed in pairs:
        count += replayed is not None
        if live != replayed:
            differences += 1
            if len(examples) < MAX_EXAMPLES:
                examples.append(Difference(table, live, replayed))
    return TableReport(table, count, differences, tuple(examples))


def _rows(
    table: str, first: list[Row], others: Iterator[list[Row]], moving: Container[int]
) -> Iterator[tuple[Row, Row]]:
    """(key, row), in the order of the key, whose columns are the first of the table."""
    length = TABLES[table].count(",") + 1
    for row in chain(first, chain.from_iterable(others)):
        yield row[:length], _without_person(row) if row[0] in moving else row


def _without_person(row: Row) -> Row:
    names = [name.strip() for name in people.COLUMNS.split(",")]
    return tuple(None if name in people.PERSONAL_COLUMNS else value for name, value in zip(names, row, strict=True))


def _pairs(
    left: Iterator[tuple[Row, Row]], right: Iterator[tuple[Row, Row]]
) -> Iterator[tuple[Row | None, Row | None]]:
    """Rows with the same key side by side; None where one side has no such row."""
    ours, theirs = next(left, None), next(right, None)
    while ours or theirs:
        if ours and theirs and ours[0] == theirs[0]:
            yield ours[1], theirs[1]
            ours, theirs = next(left, None), next(right, None)
        elif ours and (not theirs or _sortable(ours[0]) < _sortable(theirs[0])):
            yield ours[1], None
            ours = next(left, None)
        elif theirs:
            yield None, theirs[1]
            theirs = next(right, None)


def _sortable(key: Row) -> list[tuple[bool, int, str]]:
    """The databases' order: numbers before texts, texts by code point."""
    return [(False, part, "") if isinstance(part, int) else (True, 0, str(part)) for part in key]
