"""Processes that write one file take turns: none of them waits much longer than the others, however busy the ledger is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from ledger.verify import verify
from tests.chaos import writing
from tests.chaos.knobs import seconds
from tests.chaos.writers import Writers
from tests.crash.forks import Forks
from tests.crash.where import Where

SECONDS = seconds(1, 10)
PAUSES_S = {"saturated": 0.0, "paced": 0.05}
UNFAIR = 3.0


@pytest.mark.parametrize("load", PAUSES_S)
@pytest.mark.parametrize("processes", [2, 4])
def test_no_process_waits_three_times_longer_than_all_do(
    processes: int, load: str, forks: Forks, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    place = Where(tmp_path / "data")
    writing.prepare(place)

    told = Writers(forks, [place] * processes, SECONDS, pause_s=PAUSES_S[load]).told()

    shown = ", ".join(f"{one.p50_ms:.1f}/{one.p99_ms:.1f} ({one.commands})" for one in told)
    record_property("told", f"{processes} processes on one file, {load}: p50/p99 in ms (commands) {shown}")
    typical_ms = median(one.p99_ms for one in told)
    assert max(one.p99_ms for one in told) <= UNFAIR * typical_ms
    store = place.open()
    assert verify(store).is_sound
    store.close()
