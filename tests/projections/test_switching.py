"""A read model is built beside the live one, by one process or several, however often interrupted; it is put in its place, and back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from projections.building import Progress
from projections.errors import ReplayRefused
from projections.parts import Part
from projections.places import database_at
from projections.readmodel import LogFilter, ReadModel
from projections.replay import replay, switch_back
from projections.sqlite_db import path_in
from tests.projections.folding import running
from tests.projections.house import House, until
from tests.projections.replaying_process import started, starter
from tests.projections.test_replay import busy
from tests.projections.whereabouts import ON_BOTH, Where

pytestmark = ON_BOTH
MANY_CALLS = 700


class Interrupted(Exception):
    """What a person does with Ctrl-C."""


def interrupt(_: Progress) -> None:
    raise Interrupted


def many_calls(house: House) -> None:
    """More facts than a page of a replay."""
    ada = house.user("ada")
    key = house.key(ada)
    for _ in range(MANY_CALLS):
        house.call(ada, key)


def mark(where: Where) -> None:
    """Two rows of different tables that show whether a read model was made by a replay: that one has no mark."""
    where.write("UPDATE people_v1 SET display_name = 'marked' WHERE id = 1")
    where.write("UPDATE usage_log_v1 SET content = 'marked'")


def marks(where: Where) -> set[bool]:
    """What two questions of one reading say, each whether it sees a mark; one answer if they see one read model."""
    with closing(database_at(where.place)) as database, database.reading() as reader:
        (name,) = reader.execute("SELECT display_name FROM people_v1 WHERE id = 1").fetchone()
        time.sleep(0.002)
        (content,) = reader.execute("SELECT content FROM usage_log_v1 ORDER BY position LIMIT 1").fetchone()
    return {name == "marked", content == "marked"}


@contextmanager
def watching(where: Where, readers: int = 3) -> Iterator[list[set[bool]]]:
    """Threads that read all the time; what each reading saw."""
    stop = threading.Event()
    seen: list[set[bool]] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(marks(where))

    threads = [threading.Thread(target=look, daemon=True) for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


def test_a_fresh_read_model_takes_the_place_of_a_spoiled_one(house: House, read: ReadModel) -> None:
    busy(house)
    read.await_head()
    before = house.where.digest()
    mark(house.where)
    seen = read.user(1)

    report = replay(house.where.place, house.store, house.vault, fresh=True)

    assert seen is not None
    assert seen.display_name == "marked"
    assert (report.switched, report.is_same, report.digest, house.where.digest()) == (True, False, before, before)
    row = read.user(1)
    assert row is not None
    assert row.display_name != "marked", "an open reader sees the new one"
    assert replay(house.where.place, house.store, house.vault).is_same


def test_the_one_that_was_live_is_kept_and_put_back_caught_up(house: House, read: ReadModel) -> None:
    busy(house)
    read.await_head()
    mark(house.where)
    replay(house.where.place, house.store, house.vault, fresh=True)
    house.call(1, 1)
    read.await_head()
    after_switch = marks(house.where)

    position = switch_back(house.where.place, house.store, house.vault)
    back = marks(house.where)
    switch_back(house.where.place, house.store, house.vault)

    assert position == house.store.head() == house.where.position()
    assert (after_switch, back, marks(house.where)) == ({False}, {True}, {False})


def test_where_nothing_was_kept_there_is_no_way_back(house: House, read: ReadModel) -> None:
    read.await_head()

    with pytest.raises(ReplayRefused, match="no switch yet"):
        switch_back(house.where.place, house.store, house.vault)


def test_no_reading_sees_two_read_models_while_they_are_exchanged(house: House, read: ReadModel) -> None:
    busy(house)
    with running(house):
        until(lambda: read.lag() == 0, "the first fold")
        mark(house.where)
        with watching(house.where) as seen:
            until(lambda: seen, "a first reading")
            replay(house.where.place, house.store, house.vault, fresh=True)
            for _ in range(3):
                so_far = len(seen)
                until(lambda so_far=so_far: len(seen) > so_far + 6, "more readings")  # type: ignore[misc]
                switch_back(house.where.place, house.store, house.vault)
        house.option("RetryTimes", "5")
        until(lambda: read.lag() == 0, "the folding one to come back")

    assert {True} in seen
    assert {False} in seen
    assert {True, False} not in seen
    assert marks(house.where) == {True}


def test_readers_find_every_row_while_read_models_are_exchanged(house: House, read: ReadModel) -> None:
    busy(house)
    failures: list[object] = []
    stop = threading.Event()
    with running(house):
        until(lambda: read.lag() == 0, "the first fold")
        wanted = read.page_logs(LogFilter(), page=1, size=1000)

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
            replay(house.where.place, house.store, house.vault, fresh=True)
        stop.set()
        for reader in readers:
            reader.join(10)

    assert failures == []
    assert house.where.digest() == house.digest()


def test_an_interrupted_replay_is_gone_on_with(house: House, read: ReadModel) -> None:
    many_calls(house)
    read.await_head()

    with pytest.raises(Interrupted):
        replay(house.where.place, house.store, house.vault, progress=interrupt)
    kept = house.where.is_kept("next")
    report = replay(house.where.place, house.store, house.vault)

    assert kept
    assert 0 < report.resumed_at < report.position
    assert report.facts == sum(recorded.position > report.resumed_at for recorded in house.facts())
    assert (report.is_same, report.digest) == (True, house.digest())
    assert not house.where.is_kept("next"), "what was compared and is the same is thrown away"


def test_a_replay_that_is_killed_is_gone_on_with(house: House, read: ReadModel) -> None:
    many_calls(house)
    read.await_head()

    with started(house.where) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    report = replay(house.where.place, house.store, house.vault)

    assert 0 < report.resumed_at < report.position
    assert (report.is_same, report.digest) == (True, house.digest())


@pytest.mark.parametrize("begun_anew", ["asked", "other code"])
def test_what_other_code_left_is_not_gone_on_with_nor_what_one_does_not_want(
    house: House, read: ReadModel, begun_anew: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(house)
    read.await_head()
    with pytest.raises(Interrupted):
        replay(house.where.place, house.store, house.vault, progress=interrupt)
    if begun_anew == "other code":
        monkeypatch.setattr("projections.replay.fingerprint", lambda: "of another version")

    report = replay(house.where.place, house.store, house.vault, restart=begun_anew == "asked")

    assert (report.resumed_at, report.is_same) == (0, True)


def test_several_processes_build_what_one_does(house: House, read: ReadModel) -> None:
    busy(house, 200)
    read.await_head()
    goals: list[Progress] = []

    report = replay(
        house.where.place, house.store, house.vault, processes=2, start=starter(house.where), progress=goals.append
    )

    assert (report.is_same, report.digest) == (True, house.digest())
    assert report.facts == len(house.facts())
    assert (goals[-1].position, goals[-1].goal) == (house.store.head(), house.store.head())
    assert report.peak_mb > 60, "three processes"


def test_a_process_that_fails_ends_the_replay_and_the_next_goes_on(house: House, read: ReadModel) -> None:
    busy(house, 100)
    read.await_head()
    start = starter(house.where)

    def one_fails(part: Part) -> subprocess.Popen[bytes]:
        failing = [sys.executable, "-c", "raise SystemExit(3)"]
        return subprocess.Popen(failing, stdout=subprocess.PIPE) if part.number else start(part)

    with pytest.raises(ReplayRefused, match="a process of the replay failed"):
        replay(house.where.place, house.store, house.vault, processes=2, start=one_fails)
    report = replay(house.where.place, house.store, house.vault)

    assert (report.is_same, report.digest) == (True, house.digest())


def test_a_read_model_that_is_no_database_is_replaced_by_a_fresh_one(house: House, read: ReadModel) -> None:
    busy(house)
    read.await_head()
    spoil(house.where)

    with pytest.raises(ReplayRefused, match="--fresh"):
        replay(house.where.place, house.store, house.vault)
    replay(house.where.place, house.store, house.vault, fresh=True)

    assert read.await_head().is_current
    assert house.where.digest() == house.digest()


def spoil(where: Where) -> None:
    """What nobody can read, where the live read model should be."""
    if where.kind == "sqlite":
        path_in(where.folder).write_bytes(b"no database" * 1000)
    else:
        where.write("DROP TABLE people_v1")
        where.write("CREATE VIEW people_v1 AS SELECT 1 AS nothing")
