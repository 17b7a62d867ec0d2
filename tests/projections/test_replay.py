"""The same facts give the same rows: whatever the pages, the process, the day; and a row that differs is shown."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.books import Guard
from ledger.verify import verify
from projections import readdb
from projections.catalogue import TABLES, projections
from projections.errors import ReplayRefused
from projections.people import People
from projections.readmodel import LogFilter, ReadModel
from projections.replay import dump_digest, replay
from projections.runner import Folding, Runner
from tests.projections.house import House, until
from tests.projections.steps import Step, Story, steps


def busy(house: House, calls: int = 60) -> None:
    """A house in which a little of everything has happened."""
    kinds = ("user", "key", "limited_key", "option", "rename", "adjust", "hold", "settle", "release", "expire", "dear")
    story = Story(house)
    story.play([Step("hold", n, 1_000_000) for n in range(5)])
    story.play([Step(kinds[n % len(kinds)], n * 7, n * 100) for n in range(calls)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
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


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(before=steps, after=steps)
def test_a_live_read_model_is_what_a_replay_makes_of_the_log(before: list[Step], after: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        read = ReadModel(house.folder, house.store, house.vault)
        story = Story(house)
        for drawn in (before, after):
            story.play(drawn)
            assert read.await_head().is_current

        report = replay(house.folder, house.store, house.vault)
        statements = {account: read.statement(account) for account, _ in house.store.balances()}
        balances = dict(house.store.balances())
        live = house.live_digest()
        read.close()
        house.close()

    assert report.is_same, report
    assert report.digest == live
    assert {
        account: Guard(rows[-1].balance_mills, balances[account].floor) for account, rows in statements.items()
    } == (balances)


def test_a_page_that_comes_again_changes_nothing(house: House) -> None:
    busy(house)
    path = house.folder / "again.db"
    connection = readdb.open_scratch(path)
    Folding(connection, projections(house.vault)).step(house.store)
    once = dump_digest(connection)

    Folding(connection, projections(house.vault)).step(house.store)

    assert dump_digest(connection) == once
    connection.close()


def test_a_read_model_that_is_new_catches_up_with_the_others(house: House) -> None:
    busy(house)
    connection = readdb.open_scratch(house.folder / "late.db")
    early = Folding(connection, [People(house.vault)])
    early.step(house.store, limit=25)

    folding = Folding(connection, projections(house.vault))
    while folding.step(house.store, limit=10):
        pass

    assert dump_digest(connection) == house.digest()
    assert set(folding.positions.values()) == {house.store.head()}
    connection.close()


def test_a_replay_shows_the_rows_that_differ(house: House, read: ReadModel) -> None:
    busy(house)
    read.await_head()
    connection = sqlite3.connect(readdb.path_in(house.folder))
    (changed,) = connection.execute("SELECT max(position) FROM usage_log_v1 WHERE type = 2").fetchone()
    connection.execute("UPDATE usage_log_v1 SET quota_mills = quota_mills + 1 WHERE position = ?", (changed,))
    connection.execute("DELETE FROM people_v1 WHERE id = 1")
    connection.execute("INSERT INTO options_v1 VALUES ('Ghost', '', '', 0, 0)")
    connection.commit()
    connection.close()

    report = replay(house.folder, house.store, house.vault)

    found = {table.table: table for table in report.tables if table.differences}
    assert set(found) == {"usage_log_v1", "people_v1", "options_v1"}
    wrong = found["usage_log_v1"].examples[0]
    assert wrong.live is not None
    assert wrong.replayed is not None
    assert int(wrong.live[8] or 0) == int(wrong.replayed[8] or 0) + 1
    assert found["people_v1"].examples[0].live is None
    assert found["options_v1"].examples[0].replayed is None
    assert not report.is_same


def test_only_the_first_twenty_differences_of_a_table_are_shown_and_all_are_counted(
    house: House, read: ReadModel
) -> None:
    busy(house, 120)
    read.await_head()
    connection = sqlite3.connect(readdb.path_in(house.folder))
    connection.execute("UPDATE statements_v1 SET balance_mills = 0")
    (rows,) = connection.execute("SELECT count(*) FROM statements_v1").fetchone()
    connection.commit()
    connection.close()

    report = replay(house.folder, house.store, house.vault)

    found = next(table for table in report.tables if table.table == "statements_v1")
    assert 20 < found.differences <= rows == found.rows
    assert len(found.examples) == 20


def test_a_replay_stops_exactly_where_the_live_one_is(house: House, read: ReadModel) -> None:
    busy(house)
    read.await_head()
    there = house.store.head()
    busy_user = house.user("later")
    house.call(busy_user, house.key(busy_user))
    seen: list[tuple[int, int]] = []

    with _someone_folds(house):
        report = replay(house.folder, house.store, house.vault, progress=lambda at, goal: seen.append((at, goal)))

    assert (report.position, report.is_same) == (there, True)
    assert seen[-1] == (there, there)
    assert report.facts == sum(recorded.position <= there for recorded in house.facts())


def test_a_profile_that_the_vault_has_already_forgotten_is_no_difference(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    read.await_head()
    house.rename(ada, "lovelace")

    with _someone_folds(house):
        report = replay(house.folder, house.store, house.vault)

    assert report.position < house.store.head()
    assert report.is_same


def test_a_fresh_read_model_takes_the_place_of_a_spoiled_one(house: House, read: ReadModel) -> None:
    busy(house)
    read.await_head()
    before = house.live_digest()
    connection = sqlite3.connect(readdb.path_in(house.folder))
    connection.execute("UPDATE people_v1 SET used_mills = 7")
    connection.commit()
    connection.close()
    assert read.user(1) is not None

    report = replay(house.folder, house.store, house.vault, fresh=True)

    assert (report.switched, report.digest, house.live_digest()) == (True, before, before)
    row = read.user(1)
    assert row is not None
    assert row.used_mills != 7, "an open reader sees the new file"
    assert replay(house.folder, house.store, house.vault).is_same


def test_a_fresh_read_model_takes_the_place_of_one_that_is_no_database(house: House, read: ReadModel) -> None:
    busy(house)
    readdb.path_in(house.folder).write_bytes(b"no database" * 1000)

    replay(house.folder, house.store, house.vault, fresh=True)

    assert read.await_head().is_current
    assert house.live_digest() == house.digest()


def test_readers_and_the_folding_one_go_on_while_the_file_is_exchanged(house: House, read: ReadModel) -> None:
    busy(house)
    stop = threading.Event()
    runner = Runner(house.folder, house.store, house.vault)
    folding = threading.Thread(target=runner.run, args=(stop,), daemon=True)
    folding.start()
    until(lambda: read.lag() == 0, "the first fold")
    wanted = read.page_logs(LogFilter(), page=1, size=1000)
    failures: list[object] = []

    def look() -> None:
        while not stop.wait(0.001):
            try:
                if read.page_logs(LogFilter(), page=1, size=1000) != wanted:
                    failures.append("other rows")
            except Exception as error:  # noqa: BLE001 (any failure of a reader is the finding)
                failures.append(error)

    readers = [threading.Thread(target=look, daemon=True) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(3):
        replay(house.folder, house.store, house.vault, fresh=True)
    house.option("RetryTimes", "5")
    until(lambda: read.lag() == 0, "the folding one to come back")
    stop.set()
    for thread in (*readers, folding):
        thread.join(10)
    runner.close()

    assert failures == []
    connection = sqlite3.connect(readdb.path_in(house.folder))
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert house.live_digest() == house.digest()


def test_two_replays_do_not_meet(house: House) -> None:
    lock = readdb.FileLock(house.folder / "read.replay.lock")
    lock.take()

    with pytest.raises(ReplayRefused, match="another replay"):
        replay(house.folder, house.store, house.vault)

    lock.close()


def test_every_table_has_a_key_that_orders_its_rows_in_one_way(house: House, read: ReadModel) -> None:
    busy(house, 100)
    read.await_head()

    for table, key in TABLES.items():
        connection = sqlite3.connect(readdb.path_in(house.folder))
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        (keys,) = connection.execute(f"SELECT count(*) FROM (SELECT DISTINCT {key} FROM {table})").fetchone()
        connection.close()
        assert rows == keys, table


class _someone_folds:  # noqa: N801 (reads as a sentence where it is used)
    """Another process holds the fold lock, and is slow."""

    def __init__(self, house: House) -> None:
        self._lock = readdb.fold_lock(house.folder)

    def __enter__(self) -> None:
        assert self._lock.take()

    def __exit__(self, *_: object) -> None:
        self._lock.close()
