"""The books of one batch: what commands have done so far, and how the ledger answers each of them.

Balances move only through `Books.record`, with the postings of a fact, so a balance is always the sum of its facts.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Literal, NamedTuple

import msgspec

from domain import accounts
from domain.accounts import MAX_ACCOUNT_MILLS, is_guarded
from domain.events import ChargeExtended, Fact
from domain.streams import StreamId

Status = Literal[
    "created",
    "exists",
    "exists_with_different",
    "unchanged",
    "insufficient",
    "frozen",
    "flagged",
    "disabled",
    "over",
    "not_found",
    "already_settled",
    "already_released",
    "already_expired",
    "not_yet",
    "stale",
    "conflict",
    "taken",
    "too_large",
    "invalid",
]


class Guard(NamedTuple):
    """A guarded account as it stands: its balance, and the floor that it may not pass (None: no floor)."""

    balance: int
    floor: int | None = 0


class Result(msgspec.Struct, frozen=True):
    """What became of one command. Refusals say what was needed and what was there, in mills."""

    status: Status
    fact: Fact | None = None
    """The fact that was recorded, or the one that stands in the way."""
    needed: int = 0
    available: int = 0
    account: str = ""
    id: int = 0
    """The public id that was assigned."""
    why: str = ""

    @property
    def ok(self) -> bool:
        """True when the command's effect stands, now or already."""
        return self.status in ("created", "exists", "unchanged")


class Entry(NamedTuple):
    """One fact at its place."""

    stream: StreamId
    version: int
    fact: Fact


class Decision(NamedTuple):
    """What a batch comes to. `balances` has the guarded accounts that changed."""

    results: list[Result]
    entries: list[Entry]
    balances: dict[str, Guard]


class Books:
    """Balances and histories as the commands of one batch have left them: what they changed, over what was there before them."""

    __slots__ = ("_balances", "_grown", "_history", "changed", "entries", "has_extensions", "now")

    def __init__(self, balances: Mapping[str, Guard], history: Mapping[StreamId, Sequence[Fact]], now: int) -> None:
        self._balances = balances
        self._history = history
        self._grown: dict[StreamId, list[Fact]] = {}
        self.changed: dict[str, Guard] = {}
        self.entries: list[Entry] = []
        self.has_extensions = ChargeExtended in map(type, chain.from_iterable(history.values()))
        """False: no charge of this batch was extended, so nobody need look for its extensions."""
        self.now = now

    def guard(self, account: str) -> Guard:
        return self.changed.get(account) or self._balances.get(account, EMPTY)

    def history(self, stream: StreamId) -> Sequence[Fact]:
        return self._grown.get(stream) or self._history.get(stream, NOTHING)

    def spendable(self, account: str) -> int:
        """Mills above the floor; negative when a correction left the account below it."""
        balance, floor = self.guard(account)
        return MAX_ACCOUNT_MILLS if floor is None else balance - floor

    def record(self, stream: StreamId, fact: Fact) -> None:
        """Add a fact to its stream and move what it moves."""
        history = self._grown.get(stream)
        if history is None:
            history = self._grown[stream] = [*self._history.get(stream, NOTHING), fact]
        else:
            history.append(fact)
        # The tuples are made without the constructor of a NamedTuple, which is written in Python and takes twice the time.
        self.entries.append(tuple.__new__(Entry, (stream, len(history), fact)))
        changed = self.changed
        for account, delta in fact.postings:
            if is_guarded(account):
                balance, floor = changed.get(account) or self._balances.get(account, EMPTY)
                changed[account] = tuple.__new__(Guard, (balance + delta, floor))
        if isinstance(fact, ChargeExtended):
            self.has_extensions = True
        for account, floor in fact.floors:
            self.changed[account] = Guard(self.guard(account).balance, floor)


EMPTY = Guard(0, 0)
NOTHING: Sequence[Fact] = ()


def same(there: Fact, asked: Fact) -> Result:
    """A command that came again: `asked` is the fact it would have made, at the time of the one that is `there`."""
    return Result("exists" if there == asked else "exists_with_different", there)


def alive(books: Books, stream: StreamId, ending: type[Fact]) -> bool:
    """True when the stream began and has not ended."""
    past = books.history(stream)
    return bool(past) and not isinstance(past[-1], ending)


def held_with(books: Books, user: int, available: int) -> int:
    """What is held counts as well where quota is added: it must always be possible to give it back."""
    return available + books.guard(accounts.held(user)).balance


def credit_refused(books: Books, user: int, amount: int) -> Result | None:
    """Why a user cannot be given `amount` mills more; None when they can."""
    account = accounts.available(user)
    total = held_with(books, user, books.guard(account).balance + amount)
    return too_large(account, total) if total > MAX_ACCOUNT_MILLS else None


def too_large(account: str, mills: int) -> Result:
    return Result(
        "too_large",
        needed=mills,
        available=MAX_ACCOUNT_MILLS,
        account=account,
        why="an account holds at most 9e15 quota",
    )
