"""Whoever folds: one process at a time, any of which may die at any moment, and none of which skips a fact."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from domain import events
from domain.commands import Grant
from ledger.mapper import Recorded
from projections.audit import Audit
from projections.database import Cursor
from projections.errors import FoldStopped, ReadModelUnavailable
from projections.folding import Folding
from projections.options import Options
from projections.places import database_at
from projections.readmodel import LogFilter, ReadModel
from projections.runner import BUSY_FACTS, BUSY_PERIOD_S, FOLLOW_PERIOD_S, Runner
from tests.projections.folding import running, slow_folder
from tests.projections.house import House, until
from tests.projections.steps import Step, Story
from tests.projections.whereabouts import ON_BOTH, plant

pytestmark = ON_BOTH

ROOT = Path(__file__).parent.parent.parent
KILLS = int(os.environ.get("FOLD_KILLS", "3"))
TAKEOVER_S = 2.0
LOAD_S = 2.0


@contextmanager
def folding_process(house: House, page_limit: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """0: the projector as it is served; else a runner with small pages, so that it is killed amid its work."""
    arguments = [sys.executable, "-m", "tests.projections.folding_process", str(page_limit), *house.where.arguments()]
    process = subprocess.Popen(arguments, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def position(house: House) -> int:
    """How far the read model has come, asked without folding."""
    return house.where.position()


def test_a_folding_process_that_is_killed_at_random_loses_and_doubles_nothing(house: House) -> None:
    draw = random.Random(20261125)
    story = Story(house)
    stop = threading.Event()

    def busy() -> None:
        kinds = ("hold", "hold", "settle", "release", "dear", "expire", "rename", "user", "key", "adjust")
        while not stop.is_set():
            story.play([Step(draw.choice(kinds), draw.randrange(1000), draw.randrange(3000))])

    worker = threading.Thread(target=busy, daemon=True)
    worker.start()
    reached: list[int] = []
    for _ in range(KILLS):
        here = position(house)
        goal = here + draw.randrange(1, 80)
        with folding_process(house, page_limit=draw.randrange(1, 6)) as process:
            until(lambda goal=goal: position(house) >= goal, f"position {goal}")  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
        reached.append(position(house))
    stop.set()
    worker.join(10)
    with folding_process(house):
        until(lambda: position(house) == house.store.head(), "the last process to catch up")

    assert reached == sorted(reached)
    assert house.where.digest() == house.digest()


def test_only_one_of_two_processes_folds_and_the_other_takes_over_within_two_seconds(house: House) -> None:
    ada = house.user("ada")
    key = house.key(ada)
    with folding_process(house) as first:
        until(lambda: position(house) == house.store.head(), "the first process to fold")
        with folding_process(house) as second:
            first.send_signal(signal.SIGSTOP)  # it holds the lock and does nothing: were there another, one would see
            house.call(ada, key)
            behind = position(house)
            watched = time.monotonic() + 1.5 + 1.0  # the second has started by then, and looked at the lock
            while time.monotonic() < watched:
                assert position(house) == behind < house.store.head()
                time.sleep(0.05)
            assert second.poll() is None

            died = time.monotonic()
            os.kill(first.pid, signal.SIGKILL)
            until(lambda: position(house) == house.store.head(), "the second process to take over")
            taken_over_s = time.monotonic() - died

    assert taken_over_s <= TAKEOVER_S
    assert house.where.digest() == house.digest()


def test_what_is_committed_is_read_within_a_quarter_of_a_second(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    key = house.key(ada)
    with folding_process(house):
        until(lambda: position(house) == house.store.head(), "the first fold")
        waits: list[float] = []
        for _ in range(20):
            house.call(ada, key)
            began = time.monotonic()
            assert read.await_head().is_current
            waits.append(time.monotonic() - began)

    assert sorted(waits)[len(waits) // 2] < 0.25


@contextmanager
def busy(house: House, user: int) -> Iterator[None]:
    """Somebody who commits more than a page's worth in each of the short periods."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            grants = [Grant(user=user, amount=1, why=f"{number}:{n}") for n in range(BUSY_FACTS)]
            assert all(result.ok for result in house.store.commit(grants))
            number += 1
            stop.wait(FOLLOW_PERIOD_S)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(10)


def test_under_load_pages_are_few_and_what_is_committed_is_still_read_in_time(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    with folding_process(house):
        until(lambda: position(house) == house.store.head(), "the first fold")
        with busy(house, ada):
            until(lambda: house.store.head() > 10 * BUSY_FACTS, "a load")
            began, seen, waits = time.monotonic(), set[int](), list[float]()
            while time.monotonic() < began + LOAD_S:
                asked = time.monotonic()
                seen.add(read.await_head().position)
                waits.append(time.monotonic() - asked)

    assert sorted(waits)[len(waits) // 2] < 0.25
    assert len(seen) <= 2 * LOAD_S / BUSY_PERIOD_S


def test_an_unknown_topic_stops_the_folding_at_its_position(house: House) -> None:
    ada = house.user("ada")
    house.call(ada, house.key(ada))
    last_known = house.store.head()
    plant(house.folder, "charge.teleported/1")
    house.call(ada, 1)
    runner = Runner(house.where.place, house.store, house.vault)

    with pytest.raises(FoldStopped, match=r"charge\.teleported/1") as stopped:
        runner.run(threading.Event())
    runner.close()

    assert stopped.value.position == last_known + 1
    assert position(house) == last_known


def test_the_projector_ends_when_a_fact_is_unknown(house: House) -> None:
    plant(house.folder, "user.cloned/1")
    arguments = [sys.executable, "-m", "tests.projections.folding_process", "0", *house.where.arguments()]

    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, timeout=30, check=False)

    assert ended.returncode == 1
    assert b"position 1: " in ended.stderr


class Fragile(Options):
    """Options, but for one that it cannot stand."""

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        if any(isinstance(r.fact, events.SettingChanged) and r.fact.value == "poison" for r in page):
            raise ValueError("that cannot be")
        super().fold(cursor, page)


@contextmanager
def seated(house: House, *, times: int = 1) -> Iterator[list[Folding]]:
    """Foldings of Options, breakable, and Audit, over the same read model."""
    database = database_at(house.where.place)
    folders = [house.where.folding() for _ in range(times)]
    try:
        yield [Folding(database, folder, [Fragile(), Audit()]) for folder in folders]
    finally:
        for folder in folders:
            folder.close()
        database.close()


def test_a_fact_that_breaks_a_fold_is_named_and_everything_before_it_is_kept(house: House) -> None:
    for value in ("1", "2", "poison", "4"):
        house.option("RetryTimes", value)

    with seated(house) as (folding,), pytest.raises(FoldStopped, match="that cannot be") as stopped:
        folding.step(house.store)

    assert stopped.value.position == 3
    assert folding.positions == {"options_v1": 2, "audit_v1": 2}
    assert house.where.rows("SELECT value FROM options_v1") == [("2",)]
    assert house.where.rows("SELECT count(*) FROM audit_v1") == [(2,)]


def test_rows_and_position_are_written_together_or_not_at_all(house: House) -> None:
    house.option("RetryTimes", "1")
    with seated(house, times=2) as (one, other):
        one.step(house.store)

        with pytest.raises(FoldStopped, match="somebody else"):
            other.step(house.store)

    assert house.where.rows("SELECT count(*) FROM audit_v1") == [(1,)]


def test_a_version_that_is_no_more_is_dropped_when_its_successor_has_caught_up(house: House, read: ReadModel) -> None:
    house.user("ada")
    read.await_head()
    house.where.write("CREATE TABLE people_v0 (id INTEGER PRIMARY KEY)")
    house.where.write("""INSERT INTO positions VALUES ('people_v0', 1, '["people_v0"]')""")

    with running(house):
        until(lambda: "people_v0" not in read.positions(), "the old version to go")

    with pytest.raises(ReadModelUnavailable, match="people_v0"):
        house.where.rows("SELECT * FROM people_v0")


def test_a_read_model_that_was_deleted_is_folded_again_while_everybody_runs(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    house.call(ada, house.key(ada))
    with running(house):
        until(lambda: read.lag() == 0, "the first fold")
        wanted = read.page_logs(LogFilter(), page=1, size=10)

        house.where.lose()
        until(lambda: position(house) == house.store.head(), "a new read model")
        found = read.page_logs(LogFilter(), page=1, size=10)
        house.call(ada, 1)
        until(lambda: read.lag() == 0, "the next fold")

    assert found == wanted
    assert read.page_logs(LogFilter(), page=1, size=10).total == wanted.total + 1


def test_where_nobody_folds_the_reader_does(house: House, read: ReadModel) -> None:
    ada = house.user("ada")

    as_of = read.await_head()

    assert (as_of.position, as_of.head, as_of.is_current) == (house.store.head(), house.store.head(), True)
    assert read.user(ada) is not None
    assert set(read.positions().values()) == {as_of.position}


def test_where_somebody_folds_too_slowly_the_answer_says_how_old_it_is(house: House, read: ReadModel) -> None:
    house.user("ada")
    there = read.await_head().position
    house.user("bob")

    with slow_folder(house):
        began = time.monotonic()
        as_of = read.await_head(timeout_s=0.2)
        took_s = time.monotonic() - began

    assert (as_of.position, as_of.head, as_of.is_current) == (there, house.store.head(), False)
    assert 0.2 <= took_s < 2
    assert read.lag() == house.store.head() - there


def test_where_a_fact_stops_all_folding_the_answer_is_as_old_as_that_fact(house: House, read: ReadModel) -> None:
    house.user("ada")
    there = house.store.head()
    plant(house.folder, "user.cloned/1")

    as_of = read.await_head()

    assert (as_of.position, as_of.is_current) == (there, False)
    assert read.page_users(page=1, size=10).total == 1


def test_an_empty_ledger_has_empty_read_models(house: House, read: ReadModel) -> None:
    users, as_of = read.page_users(page=1, size=10), read.await_head()

    assert (users.items, users.total) == ([], 0)
    assert (as_of.position, as_of.head, as_of.is_current) == (0, 0, True)


def test_a_reader_says_so_when_there_is_nothing_to_read(house: House, read: ReadModel) -> None:
    with slow_folder(house):
        house.where.lose()

        with pytest.raises(ReadModelUnavailable, match="cannot be read"):
            read.user(1)


def test_many_threads_may_ask_at_once(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    key = house.key(ada)
    for _ in range(20):
        house.call(ada, key)
    read.await_head()
    found: list[int] = []

    def ask() -> None:
        found.extend(len(read.page_logs(LogFilter(type=2), page=1, size=100).items) for _ in range(20))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert found == [20] * 240
