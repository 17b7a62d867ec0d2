"""The crash law of the ledger: what was acknowledged survives `kill -9` at any moment, once, and nothing stays held."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash import ledger_rounds, server_rounds
from tests.crash.forks import Forks
from tests.crash.where import KINDS, Kind, ground
from tests.laws.seeds import chance

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "6"))
SERVER_ROUNDS = max(1, ROUNDS // 3)


@pytest.mark.timeout(60 + 10 * ROUNDS)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_writers_lose_no_charge_double_none_and_leave_nothing_held(
    kind: Kind, forks: Forks, tmp_path: Path
) -> None:
    with ground(kind, tmp_path) as place:
        done = list(ledger_rounds.rounds(place, forks, ROUNDS, chance("ledger rounds", kind)))

    assert [problem for one in done for problem in one.found.problems] == []
    assert sum(one.acknowledged for one in done) > 20 * ROUNDS
    assert sum(one.found.ended for one in done) > ROUNDS


@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_a_server_that_dies_in_any_way_loses_nothing_and_its_clients_go_on_without_a_restart(
    forks: Forks, tmp_path: Path
) -> None:
    with ground("postgres", tmp_path) as place:
        done = list(server_rounds.rounds(place, forks, SERVER_ROUNDS, chance("server rounds")))

    assert [problem for one in done for problem in one.found.problems] == []
    assert sum(one.acknowledged for one in done) > 20 * SERVER_ROUNDS
