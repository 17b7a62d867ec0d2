"""The ledger's time never goes back along the log, whatever the clocks of the processes that write to it say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from domain.books import Result
from domain.commands import Command
from ledger.sqlite import SqliteStore
from tests.laws import calls

LATE_MS, EARLY_MS = 1_800_000_000_000, 1_700_000_000_000


def test_a_process_whose_clock_is_behind_goes_on_from_the_last_fact(tmp_path: Path) -> None:
    with (
        closing(SqliteStore(tmp_path, clock=lambda: LATE_MS)) as ahead,
        closing(SqliteStore(tmp_path, clock=lambda: EARLY_MS)) as behind,
    ):
        for store, command in ((ahead, calls.customer(grant=9)), (behind, calls.key_of(1)), (ahead, calls.hold(1))):
            assert commit(store, command).ok

        moments = [recorded.fact.at for recorded in ahead.read_log(0, 100)]

    assert moments == sorted(moments)
    assert moments[-1] == LATE_MS


def commit(store: SqliteStore, command: Command) -> Result:
    return store.commit([command])[0]
