"""Every recorded case of the released products: it charges the same, differs as documented, or is not built yet.

Where the recordings are not present, nothing can be compared and the tests say so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.golden.cases import Case
from tests.golden.differences import read_differences
from tests.golden.extract import extract
from tests.golden.facts import PATHS, TABLE, read_facts
from tests.golden.recordings import as_case, endpoint, folder, is_played, read_recordings
from tests.golden.stage import Stage
from tests.harness.admin import Data

HERE = (folder() / "billing.jsonl").is_file()
OPENAI_TYPE = (1,)

pytestmark = pytest.mark.skipif(not HERE, reason=f"the recordings are not present at {folder()}")


def _recorded() -> list[Data]:
    return list(read_recordings()) if HERE else []


def _ours() -> list[Case]:
    return [as_case(recording) for recording in _recorded() if is_played(recording)]


def _serves(stage: Stage, wanted: tuple[str, tuple[int, ...]]) -> bool:
    path, kinds = wanted
    return any(stage.serves(path, kind) for kind in kinds)


@pytest.mark.parametrize("case", _ours(), ids=lambda case: case.id)
def test_a_recorded_call_is_charged_the_same_or_differs_as_documented(stage: Stage, case: Case) -> None:
    difference = read_differences().get(case.id)
    expected = case.expected if difference is None else difference.ours

    outcome = stage.play(replace(case, expected=expected))

    assert expected.mismatch(outcome) is None, expected.mismatch(outcome)


@pytest.mark.parametrize("case", _ours(), ids=lambda case: case.id)
def test_a_documented_difference_states_what_was_recorded(case: Case) -> None:
    difference = read_differences().get(case.id)

    theirs = case.expected if difference is None else difference.theirs

    assert (theirs.charge, theirs.status) == (case.expected.charge, case.expected.status)


def test_our_table_has_every_recorded_case_of_our_endpoints() -> None:
    recorded = {case.id for case in _ours()}

    facts = {case.id for case in read_facts()}

    assert facts == recorded


def test_our_table_is_as_fresh_as_the_recordings() -> None:
    stored = json.loads(TABLE.read_text(encoding="utf-8"))

    made = json.loads(json.dumps(list(extract())))

    assert stored == made


def test_what_is_not_played_is_not_built_and_nothing_on_our_endpoints_is(
    stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    played = {endpoint(recording) for recording in _recorded() if is_played(recording)}
    waiting = Counter(endpoint(recording) for recording in _recorded() if not is_played(recording))

    served = {wanted for wanted in played | waiting.keys() if _serves(stage, wanted)}

    for (path, kinds), count in sorted(waiting.items()):
        record_property("told", f"not built yet: {path} on channel type {', '.join(map(str, kinds))}: {count} cases")
    assert served == played
    assert not waiting.keys() & {(path, OPENAI_TYPE) for path in PATHS.values()}
