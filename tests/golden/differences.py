"""Reads `docs/differences.md`: the cases in which we charge or answer otherwise than the released product, each with why.

The document is for people; its tables are the only list the tests know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.golden.cases import Expected

DOCUMENT = Path(__file__).parents[2] / "docs" / "differences.md"
CELL = re.compile(r"^(?P<low>[\d,]+)(?: to (?P<high>[\d,]+))?, (?:(?P<status>\d{3})|left)$")


@dataclass(frozen=True)
class Difference:
    """One row: what they charged and answered, what we do, and the reason."""

    id: str
    theirs: Expected
    ours: Expected
    why: str


def read_differences(document: Path = DOCUMENT) -> dict[str, Difference]:
    """The rows by their case.

    Raises:
        ValueError: a cell is not `charge, status`, a case stands twice, or a row gives no reason.
    """
    found: dict[str, Difference] = {}
    for line in document.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `"):
            continue
        row = _row(line)
        if row.id in found:
            raise ValueError(f"{row.id} stands twice in {document.name}")
        found[row.id] = row
    return found


def _row(line: str) -> Difference:
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    if len(cells) != 4 or not cells[3]:
        raise ValueError(f"expected a case, their charge, our charge and a reason; got {line!r}")
    return Difference(cells[0].strip("`"), _expected(cells[1]), _expected(cells[2]), cells[3])


def _expected(cell: str) -> Expected:
    match = CELL.match(cell.strip())
    if match is None:
        raise ValueError(f"expected `charge, status`, for example `3,750, 200` or `16, left`; got {cell.strip()!r}")
    low = _number(match["low"])
    high = _number(match["high"]) if match["high"] else low
    return Expected((low, high), int(match["status"]) if match["status"] else None, status_class=False)


def _number(text: str) -> int:
    return int(text.replace(",", ""))
