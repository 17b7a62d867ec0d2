"""The crash law of the ledger: what was acknowledged survives `kill -9` at any moment, once, and nothing stays held."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.ledger_rounds import rounds
from tests.laws.seeds import chance

ROUNDS = 40


@pytest.mark.timeout(400)
def test_forty_killed_processes_lose_no_charge_double_none_and_leave_nothing_held(tmp_path: Path) -> None:
    done = list(rounds(tmp_path, ROUNDS, chance("ledger rounds")))

    assert [problem for one in done for problem in one.found.problems] == []
    assert sum(one.acknowledged for one in done) > 20 * ROUNDS
    assert sum(one.found.ended for one in done) > ROUNDS
