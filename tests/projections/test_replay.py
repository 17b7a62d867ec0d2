"""The same facts give the same rows: whatever the pages, the process, the day; and a row that differs is shown."""

from __future__ import annotations

import random
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.books import Guard
from ledger.verify import verify
from projections.catalogue import TABLES, projections
from projections.errors import ReplayRefused
from projections.folding import Folding
from projections.people import People
from projections.places import database_at
from projections.readmodel import ReadModel
from projections.replay import replay
from tests.projections.folding import slow_folder
from tests.projections.house import House
from tests.projections.steps import Step, Story, steps
from tests.projections.whereabouts import KINDS, ON_BOTH, whereabouts


def busy(house: House, calls: int = 60) -> None:
    """A house in which a little of everything has happened."""
    kinds = ("user", "key", "limited_key", "option", "rename", "adjust", "hold", "settle", "release", "expire", "dear")
    story = Story(house)
    story.play([Step("hold", n, 1_000_000) for n in range(5)])
    story.play([Step(kinds[n % len(kinds)], n * 7, n * 100) for n in range(calls)])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(drawn=steps, sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_a_log_folds_to_the_same_bytes_whatever_the_pages(drawn: list[Step], sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        Story(house).play(drawn)

        whole, paged = house.digest(), house.digest(sizes)
        report = verify(house.store)
        house.close()

    assert whole == paged
    assert report.is_sound


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(before=steps, after=steps)
def test_a_live_read_model_is_what_a_replay_makes_of_the_log(kind: str, before: list[Step], after: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder, whereabouts(kind, Path(folder)) as where:
        house = House(Path(folder), where)
        read = ReadModel(where.place, house.store, house.vault)
        story = Story(house)
        for drawn in (before, after):
            story.play(drawn)
            assert read.await_head().is_current

        report = replay(house.where.place, house.store, house.vault)
        statements = {account: read.statement(account) for account, _ in house.store.balances()}
        balances = dict(house.store.balances())
        live = house.where.digest()
        read.close()
        house.close()

    assert report.is_same, report
    assert report.digest == live
    assert {
        account: Guard(rows[-1].balance_mills, balances[account].floor) for account, rows in statements.items()
    } == (balances)


@ON_BOTH
def test_a_page_that_comes_again_changes_nothing(house: House) -> None:
    busy(house)
    with closing(database_at(house.where.place)) as database, closing(house.where.folding()) as folder:
        Folding(database, folder, projections(house.vault)).step(house.store)
        once = house.where.digest()

        Folding(database, folder, projections(house.vault)).step(house.store)

    assert house.where.digest() == once


@ON_BOTH
def test_a_read_model_that_is_new_catches_up_with_the_others(house: House) -> None:
    busy(house)
    with closing(database_at(house.where.place)) as database, closing(house.where.folding()) as folder:
        early = Folding(database, folder, [People(house.vault)])
        early.step(house.store, limit=25)

        folding = Folding(database, folder, projections(house.vault))
        while folding.step(house.store, limit=10):
            pass

    assert house.where.digest() == house.digest()
    assert set(folding.positions.values()) == {house.store.head()}


@ON_BOTH
def test_folding_may_stop_anywhere_and_be_taken_up_by_another(house: House) -> None:
    draw = random.Random(20261125)
    busy(house, 200)
    head = house.store.head()
    with closing(database_at(house.where.place)) as database:
        for goal in sorted([*draw.sample(range(1, head), k=6), head]):
            with closing(house.where.folding()) as folder:
                folding = Folding(database, folder, projections(house.vault))
                while folding.step(house.store, limit=draw.randrange(1, 30), upto=goal):
                    pass
            assert house.where.position() == goal

    assert house.where.digest() == house.digest()


@ON_BOTH
def test_a_replay_shows_the_rows_that_differ(house: House, read: ReadModel) -> None:
    busy(house)
    read.await_head()
    ((changed,),) = house.where.rows("SELECT max(position) FROM usage_log_v1 WHERE type = 2")
    house.where.write("UPDATE usage_log_v1 SET quota_mills = quota_mills + 1 WHERE position = ?", changed)
    house.where.write("DELETE FROM people_v1 WHERE id = 1")
    house.where.write("INSERT INTO options_v1 VALUES ('Ghost', '', '', 0, 0)")

    report = replay(house.where.place, house.store, house.vault)

    found = {table.table: table for table in report.tables if table.differences}
    assert set(found) == {"usage_log_v1", "people_v1", "options_v1"}
    wrong = found["usage_log_v1"].examples[0]
    assert wrong.live is not None
    assert wrong.replayed is not None
    assert int(wrong.live[8] or 0) == int(wrong.replayed[8] or 0) + 1
    assert found["people_v1"].examples[0].live is None
    assert found["options_v1"].examples[0].replayed is None
    assert not report.is_same


@ON_BOTH
def test_only_the_first_twenty_differences_of_a_table_are_shown_and_all_are_counted(
    house: House, read: ReadModel
) -> None:
    busy(house, 120)
    read.await_head()
    rows = house.where.write("UPDATE statements_v1 SET balance_mills = 0")

    report = replay(house.where.place, house.store, house.vault)

    found = next(table for table in report.tables if table.table == "statements_v1")
    assert 20 < found.differences <= rows == found.rows
    assert len(found.examples) == 20


@ON_BOTH
def test_a_replay_stops_exactly_where_the_live_one_is(house: House, read: ReadModel) -> None:
    busy(house)
    read.await_head()
    there = house.store.head()
    busy_user = house.user("later")
    house.call(busy_user, house.key(busy_user))
    seen: list[tuple[int, int]] = []

    with slow_folder(house):
        report = replay(house.where.place, house.store, house.vault, progress=lambda said: seen.append(said[:2]))

    assert (report.position, report.is_same) == (there, True)
    assert seen[-1] == (there, there)
    assert report.facts == sum(recorded.position <= there for recorded in house.facts())


def test_a_profile_that_the_vault_has_already_forgotten_is_no_difference(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    read.await_head()
    house.rename(ada, "lovelace")

    with slow_folder(house):
        report = replay(house.where.place, house.store, house.vault)

    assert report.position < house.store.head()
    assert report.is_same


@ON_BOTH
def test_two_replays_do_not_meet(house: House) -> None:
    with closing(database_at(house.where.place)) as database, database.alone() as alone:
        assert alone

        with pytest.raises(ReplayRefused, match="another replay"):
            replay(house.where.place, house.store, house.vault)


def test_every_table_begins_with_a_key_that_orders_its_rows_in_one_way(house: House, read: ReadModel) -> None:
    busy(house, 100)
    read.await_head()

    for table, key in TABLES.items():
        rows = house.where.rows(f"SELECT count(*) FROM {table}")
        keys = house.where.rows(f"SELECT count(*) FROM (SELECT DISTINCT {key} FROM {table})")
        columns = house.where.rows(f"SELECT * FROM (SELECT {key} FROM {table} ORDER BY {key}) LIMIT 1")
        whole = house.where.rows(f"SELECT * FROM {table} ORDER BY {key} LIMIT 1")
        assert rows == keys, table
        assert [row[: len(columns[0])] for row in whole] == columns, f"{table} does not begin with its key"
