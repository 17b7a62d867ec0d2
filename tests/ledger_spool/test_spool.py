"""What the spool says it keeps is in its file, and goes to the ledger once, in order, when the database is back."""

from __future__ import annotations

import errno
import json
import stat
from concurrent.futures import wait
from pathlib import Path

import pytest

from domain.commands import Settle
from domain.events import ChargeExpired, ChargeReleased, ChargeSettled, ChargeSettledLate
from ledger import spool_segment
from ledger.errors import LedgerClosed, LedgerUnavailable, SpoolFull
from ledger.spool import KEPT, Spool, drained_now, open_spool
from ledger.spool_frames import Scan, framed
from ledger.spool_survey import survey
from ledger.verify import verify
from ledger.writer import Writer
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.ledger_spool.books import Flushes, commit, ends, held
from tests.ledger_spool.faulty import FaultyStore

MANY = 200


def test_what_is_kept_is_in_a_file_that_others_cannot_read_and_is_drained_when_the_database_is_back(
    spool: Spool, store: FaultyStore, folder: Path
) -> None:
    held(store, 1)
    store.fault = "away"

    answer = spool.keep(calls.settle(30, calls.charge(0))).result(5)
    kept = survey(folder)
    store.fault = ""

    assert answer is KEPT
    assert [(file.records, file.is_alive) for file in kept.files] == [(1, True)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert spool.await_drained(5)
    assert ends(store, 0) == [ChargeSettled]
    assert verify(store).is_sound


def test_many_that_wait_share_flushes_and_are_drained_in_their_order(
    spool: Spool, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(store, MANY)
    store.fault = "away"
    flushes = Flushes(monkeypatch)

    with flushes.held_up():
        futures = [spool.keep(calls.settle(n, calls.charge(n))) for n in range(MANY)]
    wait(futures, 5)
    store.fault = ""

    assert flushes.count <= 2
    assert spool.await_drained(5)
    drained = [command.charge for command in store.committed if isinstance(command, Settle)]
    assert drained == [calls.charge(n) for n in range(MANY)]


def test_nothing_is_called_kept_before_it_was_flushed(
    spool: Spool, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(store, 1)
    flushes = Flushes(monkeypatch)

    with flushes.held_up():
        future = spool.keep(calls.settle(30, calls.charge(0)))
        eventually(lambda: flushes.count, lambda count: count == 1)
        early = future.done()

    assert not early
    assert future.result(5) is KEPT


def test_a_lost_answer_of_the_database_makes_no_second_charge(spool: Spool, store: FaultyStore) -> None:
    held(store, 2)
    store.plan.extend(["lost", "away", "lost"])

    spool.keep(calls.settle(30, calls.charge(0))).result(5)
    spool.keep(calls.release(calls.charge(1))).result(5)

    assert spool.await_drained(5)
    assert (ends(store, 0), ends(store, 1)) == ([ChargeSettled], [ChargeReleased])
    assert (spool.drainer.drained, spool.drainer.refused) == (2, 0)


def test_after_an_expiry_a_settlement_is_a_late_one_and_a_release_is_over(spool: Spool, store: FaultyStore) -> None:
    held(store, 2)
    store.fault = "away"
    spool.keep(calls.settle(30, calls.charge(0))).result(5)
    spool.keep(calls.release(calls.charge(1))).result(5)

    commit(store, calls.expire(calls.charge(0)), calls.expire(calls.charge(1)))
    store.fault = ""

    assert spool.await_drained(5)
    assert (ends(store, 0), ends(store, 1)) == ([ChargeExpired, ChargeSettledLate], [ChargeExpired])
    assert (spool.drainer.drained, spool.drainer.refused) == (2, 0)


def test_an_end_that_does_not_know_of_the_last_extension_ends_it_too(spool: Spool, store: FaultyStore) -> None:
    held(store, 1)
    commit(store, calls.extend(1, 500), calls.extend(1, 500, calls.charge(0)), calls.extend(2, 500, calls.charge(0)))

    spool.keep(calls.settle(1_700, calls.charge(0), extensions=1)).result(5)

    assert spool.await_drained(5)
    assert ends(store, 0) == [ChargeSettled]
    assert (verify(store).is_sound, verify(store).open_holds) == (True, 0)


def test_what_the_ledger_never_takes_is_written_down_with_its_reason_and_holds_up_nobody(
    spool: Spool, store: FaultyStore, folder: Path
) -> None:
    held(store, 3)
    commit(store, calls.release(calls.charge(1)))
    commit(store, calls.settle(10, calls.charge(2)))

    for record in (
        calls.settle(30, calls.charge(99)),
        calls.settle(30, calls.charge(1)),
        calls.settle(30, calls.charge(2)),
        calls.settle(-1, calls.charge(0)),
        calls.settle(30, calls.charge(0), user=7),
        calls.settle(30, calls.charge(0)),
    ):
        spool.keep(record).result(5)

    assert spool.await_drained(5)
    assert ends(store, 0) == [ChargeSettled]
    lines = [json.loads(line) for line in (folder / "refused.jsonl").read_text().splitlines()]
    assert [line["reason"].split()[0] for line in lines] == [
        "not_found", "already_released", "exists_with_different", "invalid", "invalid",
    ]  # fmt: skip
    assert json.loads(lines[0]["record"])["command"]["charge"] == calls.charge(99)
    assert (spool.drainer.drained, spool.drainer.refused) == (1, 5)


def test_a_record_that_breaks_the_writer_is_refused_and_its_neighbours_are_drained(
    spool: Spool, store: FaultyStore, folder: Path
) -> None:
    held(store, 2)
    store.fault = "away"

    for record in (
        calls.settle(30, calls.charge(0)),
        calls.settle(30, "no stream"),
        calls.settle(30, calls.charge(1)),
    ):
        spool.keep(record).result(5)
    store.fault = ""

    assert spool.await_drained(5)
    assert (ends(store, 0), ends(store, 1)) == ([ChargeSettled], [ChargeSettled])
    assert (spool.drainer.refused, survey(folder).refused) == (1, 1)


def test_a_spool_is_full_at_its_bound_and_takes_again_when_it_has_drained(
    folder: Path, writer: Writer, store: FaultyStore
) -> None:
    held(store, 20)
    store.fault = "away"
    spool = open_spool(folder, writer, name="0001", limit_records=5)
    for n in range(5):
        spool.keep(calls.settle(n, calls.charge(n))).result(5)

    with pytest.raises(SpoolFull, match="5 records"):
        spool.keep(calls.settle(6, calls.charge(6)))
    store.fault = ""

    assert spool.await_drained(5)
    assert spool.keep(calls.settle(6, calls.charge(6))).result(5) is KEPT
    assert spool.failed == 1
    spool.close()


def test_a_spool_is_bounded_in_bytes_too_and_they_come_back(folder: Path, writer: Writer, store: FaultyStore) -> None:
    held(store, 40)
    spool = open_spool(folder, writer, name="0001", limit_bytes=4_000)
    kept = 0

    for _ in range(8):
        store.fault = "away"
        kept += kept_until_full(spool, 40)  # those that are there already are `exists`
        largest = sum(file.size_bytes for file in survey(folder).files)
        store.fault = ""
        assert spool.await_drained(5)
        eventually(spool.files.oldest, lambda waits: waits is None)
        assert largest < 4_100

    assert spool.drainer.drained == kept >= 8 * 2
    spool.close()


def test_a_flush_that_fails_keeps_nothing_and_the_next_is_written_to_another_file(
    spool: Spool, store: FaultyStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(store, 3)
    store.fault = "away"
    spool.keep(calls.settle(1, calls.charge(0))).result(5)
    flushes = Flushes(monkeypatch)

    flushes.error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(SpoolFull, match="Input/output error"):
        spool.keep(calls.settle(2, calls.charge(1))).result(5)
    flushes.error = None
    after = spool.keep(calls.settle(3, calls.charge(2))).result(5)
    files = survey(folder).files
    store.fault = ""

    assert after is KEPT
    assert [file.records for file in files] == [1, 1]
    assert spool.await_drained(5)
    assert [ends(store, n) for n in range(3)] == [[ChargeSettled], [], [ChargeSettled]]
    eventually(lambda: [file.records for file in survey(folder).files], lambda records: records == [0])


def test_a_file_that_cannot_be_read_holds_up_no_other(
    folder: Path, writer: Writer, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(store, 2)
    path = left_behind(folder, writer, store, 1)
    real = spool_segment.Segment.unread

    def unread(self: spool_segment.Segment) -> Scan:
        if self.path == path and not is_readable:
            raise OSError(errno.EIO, "Input/output error")
        return real(self)

    is_readable = False
    monkeypatch.setattr(spool_segment.Segment, "unread", unread)
    spool = open_spool(folder, writer, name="0002")
    spool.keep(calls.settle(1, calls.charge(1))).result(5)

    eventually(lambda: ends(store, 1), lambda there: there == [ChargeSettled])
    is_readable = True

    eventually(lambda: ends(store, 0), lambda there: there == [ChargeSettled])
    spool.close()


def test_a_process_that_dies_is_drained_by_one_that_lives(
    folder: Path, writer: Writer, store: FaultyStore, spool: Spool
) -> None:
    held(store, 1)

    left_behind(folder, writer, store, 1, name="0000")

    assert eventually(lambda: ends(store, 0), bool) == [ChargeSettled]
    eventually(lambda: len(survey(folder).files), lambda files: files == 1)


def test_a_closed_spool_leaves_what_waits_to_the_next_process(
    folder: Path, writer: Writer, store: FaultyStore, spool: Spool
) -> None:
    held(store, 2)
    store.fault = "away"
    spool.keep(calls.settle(1, calls.charge(0))).result(5)

    spool.close()
    with pytest.raises(LedgerClosed):
        spool.keep(calls.settle(1, calls.charge(1)))
    left = survey(folder)
    store.fault = ""
    following = open_spool(folder, writer, name="0002")

    assert [(file.records, file.is_alive) for file in left.files] == [(1, False)]
    assert following.await_drained(5)
    assert ends(store, 0) == [ChargeSettled]
    following.close()
    assert list(folder.iterdir()) == []


def test_a_process_leaves_the_file_of_a_living_one_alone(
    folder: Path, writer: Writer, store: FaultyStore, spool: Spool
) -> None:
    held(store, 1)
    store.fault = "away"
    spool.keep(calls.settle(1, calls.charge(0))).result(5)

    beside = open_spool(folder, writer, name="0002")

    assert (beside.waiting, spool.waiting) == (0, 1)
    beside.close()
    store.fault = ""
    assert spool.await_drained(5)


def test_a_name_that_is_taken_never_costs_the_records_of_who_has_it(
    folder: Path, writer: Writer, store: FaultyStore, spool: Spool
) -> None:
    held(store, 2)
    store.fault = "away"
    spool.keep(calls.settle(1, calls.charge(0))).result(5)

    with pytest.raises(FileExistsError):
        open_spool(folder, writer, name="0001")
    spool.keep(calls.settle(2, calls.charge(1))).result(5)

    assert [file.records for file in survey(folder).files] == [2]
    store.fault = ""
    assert spool.await_drained(5)


def test_damage_in_the_middle_is_said_and_kept_and_the_records_around_it_are_drained(
    folder: Path, writer: Writer, store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    held(store, 3)
    path = left_behind(folder, writer, store, 3)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)

    spool = open_spool(folder, writer, name="0002")

    assert spool.await_drained(5)
    aside = eventually(lambda: survey(folder).set_aside, bool)
    assert aside == [f"{path.name}.damaged"]
    assert (folder / aside[0]).read_bytes() == data
    assert [ends(store, n) for n in range(3)] == [[ChargeSettled], [], [ChargeSettled]]
    assert spool.files.damaged == 1
    assert "spool_damaged" in caplog.text
    spool.close()


def test_a_tail_that_a_crash_cut_is_dropped_and_what_was_acknowledged_before_it_is_drained(
    folder: Path, writer: Writer, store: FaultyStore
) -> None:
    held(store, 2)
    path = left_behind(folder, writer, store, 2)
    path.write_bytes(path.read_bytes()[:-1])

    spool = open_spool(folder, writer, name="0002")

    assert spool.await_drained(5)
    assert [ends(store, n) for n in range(2)] == [[ChargeSettled], []]
    assert (spool.files.damaged, survey(folder).set_aside) == (0, [])
    spool.close()


def test_a_file_without_its_header_is_still_drained_and_then_set_aside(
    folder: Path, writer: Writer, store: FaultyStore
) -> None:
    held(store, 2)
    path = left_behind(folder, writer, store, 2)
    path.write_bytes(b"?" * 28 + path.read_bytes()[28:])

    spool = open_spool(folder, writer, name="0002")

    assert spool.await_drained(5)
    assert [ends(store, n) for n in range(2)] == [[ChargeSettled], [ChargeSettled]]
    eventually(lambda: survey(folder).set_aside, bool)
    spool.close()


def test_a_file_of_another_ledger_is_left_where_it_is(
    folder: Path, tmp_path: Path, writer: Writer, store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    held(store, 1)
    path = left_behind(folder, writer, store, 1)
    other = FaultyStore(tmp_path / "other")
    other.commit([calls.customer("bob")])
    other_writer = Writer(other)

    spool = open_spool(folder, other_writer, name="0002")

    assert (spool.waiting, path.exists()) == (0, True)
    assert "spool_of_another_ledger" in caplog.text
    spool.close()
    other_writer.close()
    other.close()


def test_a_record_of_a_newer_version_is_refused_whole_and_only_once(
    folder: Path, writer: Writer, store: FaultyStore
) -> None:
    held(store, 1)
    path = left_behind(folder, writer, store, 1)
    newer = path.read_bytes() + framed(b'{"type":"settle/2","at_ms":1,"command":{}}')

    for name in ("0002", "0003"):  # as after a crash between the two files
        path.write_bytes(newer)
        spool = open_spool(folder, writer, name=name)
        assert spool.await_drained(5)
        spool.close()

    (line,) = (folder / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["record"] == '{"type":"settle/2","at_ms":1,"command":{}}'


def test_draining_by_hand_takes_what_the_dead_left_and_says_when_the_database_is_away(
    folder: Path, writer: Writer, store: FaultyStore
) -> None:
    held(store, 2)
    left_behind(folder, writer, store, 2)

    store.fault = "away"
    with pytest.raises(LedgerUnavailable):
        drained_now(folder, writer)
    store.fault = ""

    assert drained_now(folder, writer) == 2
    assert (list(folder.iterdir()), drained_now(folder, writer)) == ([], 0)


def test_its_age_is_that_of_the_oldest_record(spool: Spool, store: FaultyStore) -> None:
    held(store, 1)
    store.fault = "away"

    before = spool.age_s
    spool.keep(calls.settle(1, calls.charge(0))).result(5)
    age_s = eventually(lambda: spool.age_s, lambda age: age > 0.05)
    store.fault = ""

    assert before == 0
    assert age_s < 10
    assert spool.await_drained(5)
    assert spool.age_s == 0


def kept_until_full(spool: Spool, calls_: int) -> int:
    for n in range(calls_):
        try:
            spool.keep(calls.settle(n, calls.charge(n))).result(5)
        except SpoolFull as error:
            assert "bytes" in str(error)  # noqa: PT017  (how many were kept before is what is asked)
            return n
    raise AssertionError("it was never full")


def left_behind(folder: Path, writer: Writer, store: FaultyStore, count: int, *, name: str = "0001") -> Path:
    """The file of a process that died while the database was away, with `count` settlements."""
    store.fault = "away"
    dead = open_spool(folder, writer, name=name)
    for n in range(count):
        dead.keep(calls.settle(10 + n, calls.charge(n))).result(5)
    dead.close()
    store.fault = ""
    return folder / f"{name}-000001.spool"
