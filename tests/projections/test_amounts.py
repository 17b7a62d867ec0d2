"""Laws of sums beyond what SQLite adds up by itself."""

from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from projections.amounts import MAX_INTEGER, MIN_INTEGER, clamped, stored, sums, total

amounts = st.one_of(
    st.integers(-(2**66), 2**66),
    st.integers(-5, 5),
    st.sampled_from([MIN_INTEGER, MIN_INTEGER - 1, MAX_INTEGER, MAX_INTEGER + 1, -1, 0, 2**32, -(2**32)]),
)


@given(st.lists(amounts, max_size=40))
def test_a_query_sums_exactly_whatever_the_amounts(drawn: list[int]) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (mills NOT NULL)")
    database.executemany("INSERT INTO t VALUES (?)", [(stored(amount),) for amount in drawn])

    found = database.execute(f"SELECT {sums('mills')} FROM t").fetchone()
    database.close()

    assert total(*found) == sum(drawn)


@given(amounts)
def test_an_amount_comes_back_as_it_was_stored(amount: int) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (mills NOT NULL)")
    database.execute("INSERT INTO t VALUES (?)", (stored(amount),))

    (found,) = database.execute("SELECT mills FROM t").fetchone()
    database.close()

    assert int(found) == amount


@given(amounts)
def test_a_number_that_nobody_adds_up_is_moved_to_the_nearest_that_fits(number: int) -> None:
    moved = clamped(number)

    assert MIN_INTEGER <= moved <= MAX_INTEGER
    assert moved == number or abs(number) >= MAX_INTEGER
