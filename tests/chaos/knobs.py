"""How much is done: in the suite a little of everything; with CHAOS=full all of it, and longer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("CHAOS") == "full"
SLACK_S = float(os.environ.get("CHAOS_SLACK_S", "1"))
"""Added to promised times, for a machine that does other things as well."""


def seconds(in_the_suite: float, in_full: float) -> float:
    return in_full if FULL else in_the_suite


def cases(every: Sequence[T], in_the_suite: Sequence[T]) -> Sequence[T]:
    return every if FULL else in_the_suite
