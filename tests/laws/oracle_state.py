"""What the oracle remembers: plain dictionaries, no fact and no posting."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from domain import commands, streams
from domain.events import CodeTerms

LIMIT = 9 * 10**18
"""Mills on one account, what is held of it included."""


class Answer(NamedTuple):
    """The answer to one command; a field that does not matter for a status is at its default."""

    status: str
    id: int = 0
    needed: int = 0
    available: int = 0
    account: str = ""
    why: str = ""
    """Of a flagged payment; other reasons are sentences for people."""


Payer = tuple[int, int, bool]


@dataclass
class Charge:
    """One call's money, from the hold on."""

    hold: commands.Hold
    at: int
    extensions: list[commands.Extend] = field(default_factory=list[commands.Extend])
    end: str = ""
    settled: commands.Settle | None = None
    late: commands.Settle | None = None
    paid: int = 0
    refunds: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def held(self) -> int:
        return self.hold.amount + sum(extension.amount for extension in self.extensions)

    @property
    def payer(self) -> Payer:
        return self.hold.user, self.hold.key, self.hold.capped

    @property
    def bill(self) -> commands.Settle | None:
        return self.settled or self.late

    @property
    def refundable(self) -> int:
        return self.paid - sum(self.refunds.values())


@dataclass
class Task:
    accepted: commands.Accept
    at: int
    end: str = ""


@dataclass
class Adjustment:
    user: int
    delta: int
    after: int
    seen: int | None


@dataclass
class Code:
    """A code: `left` uses, None for as many as come; `given` mills so far."""

    terms: CodeTerms
    left: int | None
    enabled: bool = True
    deleted: bool = False
    given: int = 0


@dataclass
class Payment:
    """What came in under one trade number. `credited`: (user, mills, money, currency, by whom)."""

    order: commands.InitiateTopUp | None = None
    odd: list[tuple[int, str, str, str]] = field(default_factory=list[tuple[int, str, str, str]])
    """Money, currency, the provider's own id and the reason of each notice that did not fit; the same one again is no news."""
    failed: bool = False
    credited: tuple[int, int, int, str, int] | None = None
    reversals: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def left(self) -> int:
        assert self.credited is not None, "only what was credited can be reversed"
        return self.credited[1] - sum(self.reversals.values())


class State:
    """A ledger that is slow, obvious and never written to disk."""

    def __init__(self) -> None:
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.credit: defaultdict[int, int] = defaultdict(int)
        self.frozen: set[int] = set()
        self.charges: dict[str, Charge] = {}
        self.tasks: dict[str, Task] = {}
        self.adjustments: dict[str, Adjustment] = {}
        self.grants: dict[tuple[int, str], tuple[int, int]] = {}
        self.openings: dict[tuple[str, str], commands.Open] = {}
        self.days: set[tuple[int, str]] = set()
        self.transfers: dict[str, commands.TransferInvite] = {}
        self.codes: dict[int, Code] = {}
        self.redeemed: set[tuple[int, int]] = set()
        self.payments: dict[tuple[str, str], Payment] = {}
        self.tokens: dict[tuple[str, str], int] = {}
        self.names: dict[str, int] = {}
        self.texts: set[str] = set()
        self.invitations: set[str] = set()
        self.limited: dict[int, bool] = {}
        self.limits: dict[tuple[int, str], commands.LimitKey] = {}
        self.versions: defaultdict[str, int] = defaultdict(int)
        self.gone: set[str] = set()

    def is_alive(self, kind: str, number: int) -> bool:
        stream = streams.named(f"{kind}:{number}")
        return self.versions[stream] > 0 and stream not in self.gone

    def noted(self, kind: str, number: int) -> None:
        """One more fact on the stream of a user, key or code."""
        self.versions[streams.named(f"{kind}:{number}")] += 1

    def move(self, source: str, target: str, amount: int) -> None:
        self.balances[source] -= amount
        self.balances[target] += amount

    def full(self, user: int, amount: int) -> Answer | None:
        """The refusal, where `amount` mills more would not fit into a user's account beside what is there and what is held."""
        total = self.balances[f"user:{user}:available"] + self.balances[f"user:{user}:held"] + amount
        return too_large(f"user:{user}:available", total) if total > LIMIT else None


def too_large(account: str, mills: int) -> Answer:
    return Answer("too_large", needed=mills, available=LIMIT, account=account)
