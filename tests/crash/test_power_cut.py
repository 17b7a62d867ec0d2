"""What a power cut leaves of the files is a ledger: everything acknowledged is in it, and where its end is torn, a sound beginning."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

from ledger.sqlite import SqliteStore
from ledger.verify import verify
from tests.crash import worker
from tests.crash.forks import Forks
from tests.crash.rounds import Worker, check
from tests.crash.where import Where
from tests.laws import calls
from tests.laws.seeds import chance

COPIES = 8
CUTS = 40


def test_files_copied_at_any_moment_hold_everything_that_was_acknowledged(tmp_path: Path, forks: Forks) -> None:
    draw = chance("power cut")
    worker.prepare(Where(tmp_path / "data"))
    carrying = Worker(forks, Where(tmp_path / "data"), f"{draw.random()}")
    copies: list[tuple[Path, list[str]]] = []
    try:
        for number in range(COPIES):
            carrying.wait_for_more(draw.randrange(1, 300))
            copy = tmp_path / f"copy-{number}"
            copies.append((copy, carrying.frozen_copy(tmp_path / "data", copy)))
    finally:
        carrying.kill(0)

    found = [check(forks, Where(copy), acknowledged) for copy, acknowledged in copies]

    assert [problem for one in found for problem in one.problems] == []
    assert all(one.checked > 0 and one.open == 0 for one in found)


def test_a_write_ahead_log_torn_at_any_byte_leaves_a_sound_beginning(tmp_path: Path) -> None:
    draw = chance("torn log")
    store = SqliteStore(tmp_path / "data")
    store.commit([calls.customer(grant=10**6)])
    for number in range(40):
        store.commit([calls.hold(50, calls.charge(number)), calls.settle(30, calls.charge(max(0, number - 3)))])
    whole = store.read_stored(0, 1_000)
    log = (tmp_path / "data" / "ledger.db-wal").stat().st_size

    lengths: list[int] = []
    for number in range(CUTS):
        folder = torn_copy(tmp_path / "data", tmp_path / f"torn-{number}", draw.randrange(log + 1))
        with closing(SqliteStore(folder)) as torn:
            report, left = verify(torn), torn.read_stored(0, 1_000)
        assert report.is_sound, report.differences
        assert left == whole[: len(left)]
        lengths.append(len(left))

    assert min(lengths) < len(whole) / 2 < max(lengths)
    store.close()


def torn_copy(folder: Path, copy: Path, kept_bytes: int) -> Path:
    """The ledger's files as they are now, with the log's end missing."""
    copy.mkdir()
    shutil.copyfile(folder / "ledger.db", copy / "ledger.db")
    (copy / "ledger.db-wal").write_bytes((folder / "ledger.db-wal").read_bytes()[:kept_bytes])
    return copy
