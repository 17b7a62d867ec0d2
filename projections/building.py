"""A read model that grows beside the live one. Whoever is interrupted leaves what it has built to the next.

What is left is gone on with only by the same code: its fingerprint lies beside the rows.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from ledger.store import LedgerReader
from projections.database import Database, Folder
from projections.folding import PAGE_LIMIT_FACTS, Folding
from projections.pace import Pace
from projections.projection import Projection

MAX_ROUNDS = 100
CLOSE_FACTS = 5 * PAGE_LIMIT_FACTS
ROOT = Path(__file__).resolve().parent.parent
FOLDING_CODE = ("projections", "domain")


class Progress(NamedTuple):
    """Where a replay is, in positions of the log, and how fast it goes."""

    position: int
    goal: int
    facts_per_s: float


Told = Callable[[Progress], object]
"""Called after each page."""


class Growth:
    """Folds into one folder at a pace, and counts."""

    def __init__(
        self, database: Database, folder: Folder, found: Sequence[Projection], pace: Pace, told: Told | None = None
    ) -> None:
        self.folder = folder
        self.folding = Folding(database, folder, found)
        self.began_at = self.folding.position
        self.facts = 0
        self.seconds = 0.0
        self._pace = pace
        self._told = told

    @property
    def position(self) -> int:
        return self.folding.position

    def fold(self, reader: LedgerReader, goal: int, *, hurried: bool = False) -> None:
        """Fold up to a position, and not past it; `hurried`, without a rest, while others wait for what one holds."""
        while self.position < goal:
            began = monotonic()
            folded = self.folding.step(reader, upto=goal)
            if not folded:
                break
            if not hurried:
                self._pace.rest()
            self.facts += folded
            self.seconds += monotonic() - began
            if self._told is not None:
                self._told(Progress(self.position, goal, self.facts / self.seconds))

    def approach(self, reader: LedgerReader, goal: Callable[[], int]) -> None:
        """Fold until the goal is near, which moves on meanwhile."""
        for _ in range(MAX_ROUNDS):
            self.fold(reader, goal())
            if goal() - self.position < CLOSE_FACTS:
                return


@cache
def fingerprint() -> str:
    """Of the code that folds: what other code has built is not gone on with, whatever its version says."""
    digest = hashlib.sha256()
    for folder in FOLDING_CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
