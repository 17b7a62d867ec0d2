"""Laws of sums beyond what SQLite adds up by itself, on both databases."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.amounts import MAX_INTEGER, MIN_INTEGER, clamped, stored
from projections.database import Folder
from projections.sqlite_connections import BULK_ROWS
from tests.projections.whereabouts import KINDS, whereabouts

amounts = st.one_of(
    st.integers(-(2**66), 2**66),
    st.integers(-5, 5),
    st.sampled_from([MIN_INTEGER, MIN_INTEGER - 1, MAX_INTEGER, MAX_INTEGER + 1, -1, 0, 2**32, -(2**32)]),
)


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest) -> Iterator[Folder]:
    with (
        tempfile.TemporaryDirectory() as name,
        whereabouts(request.param, Path(name)) as where,
        closing(where.folding()) as found,
    ):
        with found.transaction() as cursor:
            cursor.execute(found.dialect.ddl("CREATE TABLE t (id INTEGER PRIMARY KEY, mills AMOUNT NOT NULL)"))
        yield found


def filled(folder: Folder, drawn: list[int]) -> None:
    with folder.transaction() as cursor:
        cursor.execute("DELETE FROM t")
        rows = [(number, stored(amount)) for number, amount in enumerate(drawn)]
        cursor.executemany("INSERT INTO t (id, mills) VALUES (?, ?)", rows)


@settings(deadline=None)
@given(drawn=st.lists(amounts, max_size=40))
def test_a_query_sums_exactly_whatever_the_amounts(folder: Folder, drawn: list[int]) -> None:
    filled(folder, drawn)

    with folder.reading() as reader:
        found = reader.execute(f"SELECT {folder.dialect.sums('mills')} FROM t").fetchone()

    assert folder.dialect.total(found) == sum(drawn)


@settings(deadline=None)
@given(drawn=st.lists(amounts, max_size=20))
def test_amounts_come_back_as_they_were_stored(folder: Folder, drawn: list[int]) -> None:
    filled(folder, drawn)

    with folder.reading() as reader:
        found = reader.execute("SELECT mills FROM t ORDER BY id").fetchall()

    assert found == [(stored(amount),) for amount in drawn]


def test_many_rows_at_once_are_what_they_are_one_by_one(folder: Folder) -> None:
    drawn = [stored(MAX_INTEGER - 100 + number) for number in range(3 * BULK_ROWS + 7)]
    put = "INSERT INTO t (id, mills) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET mills = excluded.mills"
    with folder.transaction() as cursor:
        cursor.execute("DELETE FROM t")
        cursor.executemany(put, [(number, 0) for number in range(0, len(drawn), 2)])

    with folder.transaction() as cursor:
        cursor.executemany(put, list(enumerate(drawn)))

    with folder.reading() as reader:
        assert reader.execute("SELECT id, mills FROM t ORDER BY id").fetchall() == list(enumerate(drawn))


def test_of_many_rows_with_one_that_is_refused_none_is_kept(folder: Folder) -> None:
    filled(folder, [])

    with pytest.raises(Exception, match=r"(?i)unique"), folder.transaction() as cursor:
        cursor.executemany("INSERT INTO t (id, mills) VALUES (?, ?)", [(min(n, 100), n) for n in range(3 * BULK_ROWS)])

    with folder.reading() as reader:
        assert reader.execute("SELECT count(*) FROM t").fetchall() == [(0,)]


@given(amounts)
def test_a_number_that_nobody_adds_up_is_moved_to_the_nearest_that_fits(number: int) -> None:
    moved = clamped(number)

    assert MIN_INTEGER <= moved <= MAX_INTEGER
    assert moved == number or abs(number) >= MAX_INTEGER
