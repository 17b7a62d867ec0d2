"""The crash law of the gateway: what a client has read to its end is charged, whoever was killed, once and exactly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.forks import Forks
from tests.crash.gateway_rounds import rounds
from tests.crash.where import Kind, ground
from tests.laws.seeds import chance

ROUNDS = max(2, int(os.environ.get("CRASH_ROUNDS", "6")) // 5)
SHAPES: list[tuple[Kind, int]] = [("sqlite", 1), ("postgres", 2)]


@pytest.mark.timeout(120 + 30 * ROUNDS)
@pytest.mark.parametrize(("kind", "workers"), SHAPES)
def test_killed_gateways_charge_every_answer_once_and_leave_nothing_held(
    kind: Kind, workers: int, forks: Forks, tmp_path: Path
) -> None:
    with ground(kind, tmp_path) as place:
        done = list(rounds(place, forks, ROUNDS, chance("gateway rounds", kind), workers=workers))

    assert [problem for one in done for problem in one.found.problems] == []
    assert sum(one.acknowledged for one in done) > 5 * ROUNDS
