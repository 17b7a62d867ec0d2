"""The crash law of the gateway: what a client has read to its end is charged after `kill -9`, once and exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.gateway_rounds import rounds
from tests.laws.seeds import chance

ROUNDS = 10


@pytest.mark.timeout(400)
def test_ten_killed_gateways_charge_every_answer_once_and_leave_nothing_held(tmp_path: Path) -> None:
    done = list(rounds(tmp_path, ROUNDS, chance("gateway rounds")))

    assert [problem for one in done for problem in one.found.problems] == []
    assert sum(one.acknowledged for one in done) > 5 * ROUNDS
