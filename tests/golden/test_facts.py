"""Our own table of facts, each played on a real gateway: so many tokens at such prices are so much quota."""

from __future__ import annotations

import pytest

from tests.golden.cases import Case
from tests.golden.facts import read_facts
from tests.golden.stage import Stage


@pytest.mark.parametrize("case", read_facts(), ids=lambda case: case.id)
def test_a_call_is_charged_as_the_table_says(stage: Stage, case: Case) -> None:
    expected = case.expected

    outcome = stage.play(case)

    assert expected.mismatch(outcome) is None, expected.mismatch(outcome)
