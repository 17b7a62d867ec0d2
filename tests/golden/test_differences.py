"""The document of differences is readable by the tests, and says what it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.differences import read_differences
from tests.golden.facts import read_facts


def test_every_row_names_a_case_of_our_table() -> None:
    facts = {case.id for case in read_facts()}

    named = read_differences().keys()

    assert named <= facts, f"unknown cases: {sorted(named - facts)}"


def test_every_row_says_something_else_than_theirs() -> None:
    rows = read_differences().values()

    same = [row.id for row in rows if row.theirs == row.ours]

    assert not same


@pytest.mark.parametrize("cell", ["", "16", "16 200", "many, 200", "16, gone"])
def test_a_cell_that_is_no_charge_and_status_is_refused(tmp_path: Path, cell: str) -> None:
    document = tmp_path / "differences.md"
    document.write_text(f"| `some-case` | 0, 200 | {cell} | because |\n")

    with pytest.raises(ValueError, match="charge, status"):
        read_differences(document)


def test_a_row_without_a_reason_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "differences.md"
    document.write_text("| `some-case` | 0, 200 | 1, 200 | |\n")

    with pytest.raises(ValueError, match="a reason"):
        read_differences(document)


def test_a_case_stands_in_one_row_only(tmp_path: Path) -> None:
    document = tmp_path / "differences.md"
    document.write_text("| `some-case` | 0, 200 | 1, 200 | because |\n" * 2)

    with pytest.raises(ValueError, match="twice"):
        read_differences(document)
