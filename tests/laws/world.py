"""What an ask points at: the users, keys, charges, codes and payments that the oracle knows by then."""

from __future__ import annotations

from typing import NamedTuple

from domain import streams
from domain.commands import Part
from domain.events import Fact
from tests.laws.oracle import Oracle

START_MS = 1_800_000_000_000
NOBODY, NOTHING = 4, 11
"""The last values of `Ask.who` and `Ask.which`: they point at what is not there yet."""

WRONG_PAYER, WRONG_CAP, WRONG_COUNT, STALE, NO_VERSION, EXACTLY, MORE = range(7)
"""Values of `Ask.odd` that bend a command: the first four on purpose wrongly."""


class Ask(NamedTuple):
    """One command, before it is known whom it meets."""

    kind: str
    who: int = 0
    which: int = 0
    amount: int = 0
    odd: int = 99


class World:
    """Finds what asks point at. `now` is the ledger's time in ms, which dates are drawn around."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.now = START_MS

    def user(self, ask: Ask) -> int:
        """One of the users; for the last number the next one, who is not there yet."""
        return self._one_of("user", ask.who, nobody=NOBODY)

    def another(self, ask: Ask) -> int:
        """Any user again, who may be the same one."""
        return 1 + (ask.who + ask.odd) % (self.oracle.balances["seq:user"] + 1)

    def key(self, ask: Ask) -> int:
        return self._one_of("key", ask.who, nobody=NOBODY)

    def code(self, ask: Ask) -> int:
        return self._one_of("code", ask.which, nobody=NOTHING)

    def _one_of(self, kind: str, number: int, *, nobody: int) -> int:
        there = self.oracle.balances[f"seq:{kind}"]
        return 1 + (there if number == nobody or not there else number % there)

    def name(self, ask: Ask) -> str:
        return streams.username(f"name-{ask.which}")

    def part(self, ask: Ask, stream: str, fact: Fact) -> Part:
        """A fact for a stream at the version that is there, or on purpose at another one."""
        version = self.oracle.versions[stream] + (ask.odd == WRONG_COUNT) - (ask.odd == STALE)
        return Part(stream, None if ask.odd == NO_VERSION else version, (fact,))
