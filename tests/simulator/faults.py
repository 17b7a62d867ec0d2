"""Whether a fault strikes, and what was seen of faults and commands in one run."""

from __future__ import annotations

from collections import Counter
from random import Random

from domain.books import Result
from domain.commands import Command
from tests.simulator.plan import Plan


class Breach(Exception):
    """A promise is broken, or a law does not hold."""


class Faults:
    """Strikes by the plan's rates, until it is told to stop."""

    def __init__(self, plan: Plan, chance: Random) -> None:
        self._rates = plan.rates
        self._random = chance.random
        self.seen: Counter[str] = Counter()
        self.over = False

    def strikes(self, kind: str) -> bool:
        rate = self._rates[kind]
        if self.over or not rate or self._random() >= rate:
            return False
        self.seen[kind] += 1
        return True

    def happened(self, kind: str) -> None:
        """Something that follows from other faults, and is worth counting."""
        self.seen[kind] += 1


class Answers(Counter[tuple[str, str]]):
    """How often each kind of command was answered how."""

    def note(self, command: Command, result: Result) -> None:
        self[type(command).__name__, result.status] += 1
