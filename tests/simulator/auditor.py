"""The ledger as an auditor writes it down who sees requests and replies only, in the order in which they were committed.

Plain dictionaries, written a second time; nothing of the domain's rules. It says what the reply to a request has to be and what every
account has to hold afterwards. It shares the names of accounts and streams, and the types of commands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from domain import commands, streams
from domain.books import Guard, Result
from domain.commands import Command
from domain.events import CodeTerms
from domain.streams import StreamId
from tests.simulator.faults import Breach

MOST = 9 * 10**18
YEAR_9999_S = 253_402_300_799


class Answer(NamedTuple):
    status: str
    id: int = 0


CREATED, EXISTS, DIFFERENT = Answer("created"), Answer("exists"), Answer("exists_with_different")
NOT_FOUND, INVALID, UNCHANGED = Answer("not_found"), Answer("invalid"), Answer("unchanged")
INSUFFICIENT, TOO_LARGE, STALE, NOT_YET = (
    Answer("insufficient"),
    Answer("too_large"),
    Answer("stale"),
    Answer("not_yet"),
)


def found(there: object, asked: object) -> Answer:
    return EXISTS if there == asked else DIFFERENT


@dataclass
class Charge:
    hold: commands.Hold
    at: int
    extensions: list[commands.Extend] = field(default_factory=list[commands.Extend])
    end: str = ""
    bill: commands.Settle | None = None
    paid: int = 0
    refunds: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def held(self) -> int:
        return self.hold.amount + sum(extension.amount for extension in self.extensions)

    @property
    def left(self) -> int:
        return self.paid - sum(self.refunds.values())


@dataclass
class Person:
    is_gone: bool = False
    frozen: bool = False
    credit: int = 0

    @property
    def floor(self) -> int:
        return MOST + 1 if self.frozen else -self.credit


@dataclass
class Key:
    user: int
    unlimited: bool
    is_gone: bool = False
    changes: dict[str, tuple[bool, int | None, int]] = field(default_factory=dict[str, tuple[bool, int | None, int]])


@dataclass
class Code:
    terms: CodeTerms
    max_uses: int | None
    status: int = 1
    is_gone: bool = False


@dataclass
class Payment:
    order: commands.InitiateTopUp | None = None
    credit: tuple[int, int, int] | None = None
    """User, mills, who did it by hand."""
    money: tuple[int, str] = (0, "")
    failed: bool = False
    flags: list[tuple[int, int, str, str, str]] = field(default_factory=list[tuple[int, int, str, str, str]])
    reversals: dict[str, int] = field(default_factory=dict[str, int])


class Auditor:
    """Everything that was ever asked for and granted."""

    def __init__(self) -> None:
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.charges: dict[StreamId, Charge] = {}
        self.people: dict[int, Person] = {}
        self.keys: dict[int, Key] = {}
        self.codes: dict[int, Code] = {}
        self.channels: dict[int, bool] = {}
        self.payments: defaultdict[tuple[str, str], Payment] = defaultdict(Payment)
        self.once: dict[tuple[object, ...], object] = {}
        """What may happen once, by its name: what it was."""
        self.tasks: dict[StreamId, Command] = {}
        self.task_ends: dict[StreamId, str] = {}
        self.task_deadlines: dict[StreamId, int] = {}
        self.names: dict[StreamId, int] = {}
        """Who has a username; 0: it is free again. A code's text has -1 for ever."""
        self.versions: defaultdict[StreamId, int] = defaultdict(int)
        self.gone: set[StreamId] = set()
        self.rules: dict[type[Command], Callable[..., Answer]] = {}
        self.touched: dict[str, None] = {}

    def replied(self, command: Command, result: Result, now: int) -> None:
        expected = self.rules[type(command)](self, command, now)
        if expected.status != result.status or (expected.id and expected.id != result.id):
            said = f"{result.status} {result.id or ''} {result.why}".strip()
            raise Breach(
                f"the auditor expected {expected.status} {expected.id or ''}, the ledger said {said}: {command}"
            )

    def agrees(self, account: str, guard: Guard) -> None:
        if guard.balance != self.balances[account]:
            raise Breach(f"{account} has {guard.balance}, the auditor has {self.balances[account]}")
        if guard.floor != self.floor(account):
            raise Breach(f"{account} has floor {guard.floor}, the auditor has {self.floor(account)}")

    def agrees_wholly(self, guards: Mapping[str, Guard], sums: Mapping[str, int]) -> None:
        for account, guard in guards.items():
            self.agrees(account, guard)
        for account, balance in sums.items():
            if balance != self.balances[account]:
                raise Breach(f"{account} has {balance}, the auditor has {self.balances[account]}")

    def move(self, source: str, target: str, amount: int) -> None:
        self.balances[source] -= amount
        self.balances[target] += amount
        self.touched[source] = self.touched[target] = None

    def floor(self, account: str) -> int | None:
        if account.startswith("user:") and account.endswith(":available"):
            person = self.people.get(int(account[5:-10]))
            return person.floor if person else 0
        if account.startswith("code:"):
            code = self.codes.get(int(account.split(":")[1]))
            return None if code and code.max_uses is None else 0
        return 0

    def room(self, account: str) -> int:
        floor = self.floor(account)
        return MOST if floor is None else self.balances[account] - floor

    def lives(self, user: int) -> bool:
        return user in self.people and not self.people[user].is_gone

    def is_full(self, user: int, more: int) -> bool:
        return self.balances[f"user:{user}:available"] + self.balances[f"user:{user}:held"] + more > MOST


def payer(command: commands.OnCharge) -> tuple[int, int, bool]:
    return command.user, command.key, command.capped


def hold(books: Auditor, command: commands.Hold, now: int) -> Answer:
    there = books.charges.get(command.charge)
    if there:
        return found(there.hold, command)
    if command.amount < 0:
        return INVALID
    short = _short(books, command, command.amount)
    if short:
        return short
    books.charges[command.charge] = Charge(command, now)
    _set_aside(books, command, command.amount)
    return CREATED


def extend(books: Auditor, command: commands.Extend, now: int) -> Answer:
    charge = books.charges.get(command.charge)
    if not charge:
        return NOT_FOUND
    for there in charge.extensions:
        if there.n == command.n:
            return found(there, command)
    if charge.end:
        return Answer(f"already_{charge.end}")
    if payer(charge.hold) != payer(command) or command.amount <= 0:
        return INVALID
    if command.n != len(charge.extensions) + 1:
        return STALE
    short = _short(books, command, command.amount)
    if short:
        return short
    charge.extensions.append(command)
    _set_aside(books, command, command.amount)
    return CREATED


def settle(books: Auditor, command: commands.Settle, now: int) -> Answer:
    if not 0 <= command.cost <= MOST:
        return INVALID
    charge = books.charges.get(command.charge)
    if charge and charge.bill:
        return found(_bill(charge.bill), _bill(command))
    if charge and charge.end == "expired":
        if payer(charge.hold) != payer(command):
            return INVALID
        held = 0
    else:
        refused = _not_open(charge, command)
        if refused:
            return refused
        assert charge, "what is open is there"
        held, charge.end = charge.held, "settled"
    rest = max(0, min(books.room(account) for account in _sources(command)))
    _set_aside(books, command, -held)
    charge.bill, charge.paid = command, min(command.cost, held + rest)
    books.move(f"user:{command.user}:available", "platform:revenue", charge.paid)
    books.move("platform:writeoff", "platform:revenue", command.cost - charge.paid)
    if command.capped:
        books.move(f"key:{command.key}:cap", f"key:{command.key}:cap_spent", charge.paid)
    return CREATED


def release(books: Auditor, command: commands.Release, now: int) -> Answer:
    return _end_free(books, command, "released")


def expire(books: Auditor, command: commands.Expire, now: int) -> Answer:
    charge = books.charges.get(command.charge)
    if charge and not command.dead_epoch and now < charge.at + charge.hold.ttl_ms:
        return _not_open(charge, command, EXISTS if charge.end == "expired" else None) or NOT_YET
    return _end_free(books, command, "expired")


def refund(books: Auditor, command: commands.Refund, now: int) -> Answer:
    return INVALID if command.command_key.startswith("task:") else _give_back(books, command)


def _give_back(books: Auditor, command: commands.Refund) -> Answer:
    charge = books.charges.get(command.charge)
    if not charge or not charge.bill:
        return NOT_FOUND
    if payer(charge.bill) != payer(command):
        return INVALID
    if command.command_key in charge.refunds:
        there = charge.refunds[command.command_key]
        return EXISTS if command.amount == there or (command.amount is None and not charge.left) else DIFFERENT
    if command.amount is None and not charge.left:
        return UNCHANGED
    amount = charge.left if command.amount is None else command.amount
    if amount > charge.left:
        return INSUFFICIENT
    if amount <= 0:
        return INVALID
    cap = f"key:{command.key}:cap"
    if books.is_full(command.user, amount):
        return TOO_LARGE
    if command.capped and books.balances[cap] + books.balances[f"key:{command.key}:cap_held"] + amount > MOST:
        return TOO_LARGE
    charge.refunds[command.command_key] = amount
    books.move("platform:revenue", f"user:{command.user}:available", amount)
    if command.capped:
        books.move(f"key:{command.key}:cap_spent", cap, amount)
    return CREATED


def accept(books: Auditor, command: commands.Accept, now: int) -> Answer:
    there = books.tasks.get(command.task)
    if there:
        assert isinstance(there, commands.Accept), "a task begins by being accepted"
        bill = books.charges[command.charge].bill if command.charge in books.charges else None
        is_that = _task(there) == _task(command) and bill is not None and _bill(bill) == _bill(command)
        return EXISTS if is_that else DIFFERENT
    if command.task_ttl_ms <= 0:
        return INVALID
    settled = settle(books, command, now)
    if settled == EXISTS:
        return Answer("already_settled")
    if settled == CREATED:
        books.tasks[command.task] = command
        books.task_deadlines[command.task] = now + command.task_ttl_ms
    return settled


def end_task(books: Auditor, command: commands.EndTask, now: int) -> Answer:
    begun = books.tasks.get(command.task)
    if not begun:
        return NOT_FOUND
    assert isinstance(begun, commands.Accept), "a task begins by being accepted"
    if (begun.charge, *payer(begun)) != (command.charge, *payer(command)):
        return INVALID
    end = "succeeded" if command.outcome == "succeeded" else "failed"
    if command.task in books.task_ends:
        return found(books.task_ends[command.task], end)
    if command.outcome == "given_up" and now < books.task_deadlines[command.task]:
        return NOT_YET
    if end == "failed":
        back = commands.Refund(
            charge=command.charge,
            user=command.user,
            key=command.key,
            capped=command.capped,
            command_key=f"task:{command.task}",
        )
        given = _give_back(books, back)
        if given not in (CREATED, UNCHANGED):
            return given
    books.task_ends[command.task] = end
    return CREATED


def _task(command: commands.Accept) -> tuple[object, ...]:
    return (
        command.charge,
        *payer(command),
        command.kind,
        command.channel,
        command.upstream_task_id,
        command.task_ttl_ms,
    )


def _bill(command: commands.Settle) -> tuple[object, ...]:
    return (*payer(command), command.cost, command.usage, command.price)


def _sources(command: commands.OnCharge) -> list[str]:
    return [f"user:{command.user}:available"] + ([f"key:{command.key}:cap"] if command.capped else [])


def _short(books: Auditor, command: commands.OnCharge, amount: int) -> Answer | None:
    for account in _sources(command):
        if books.room(account) < max(amount, 0):
            person = books.people.get(command.user)
            is_frozen = account.startswith("user") and person is not None and person.frozen
            return Answer("frozen") if is_frozen else INSUFFICIENT
    return TOO_LARGE if books.balances[f"user:{command.user}:held"] + amount > MOST else None


def _set_aside(books: Auditor, command: commands.OnCharge, amount: int) -> None:
    books.move(f"user:{command.user}:available", f"user:{command.user}:held", amount)
    if command.capped:
        books.move(f"key:{command.key}:cap", f"key:{command.key}:cap_held", amount)


def _not_open(charge: Charge | None, command: commands.EndCharge, over: Answer | None = None) -> Answer | None:
    if not charge:
        return NOT_FOUND
    if charge.end:
        return over or Answer(f"already_{charge.end}")
    if payer(charge.hold) != payer(command):
        return INVALID
    return STALE if command.extensions != len(charge.extensions) else None


def _end_free(books: Auditor, command: commands.EndCharge, end: str) -> Answer:
    charge = books.charges.get(command.charge)
    refused = _not_open(charge, command, EXISTS if charge and charge.end == end else None)
    if refused:
        return refused
    assert charge, "what is open is there"
    charge.end = end
    _set_aside(books, command, -charge.held)
    return CREATED


CHARGE_RULES: dict[type[Command], Callable[..., Answer]] = {
    commands.Hold: hold,
    commands.Extend: extend,
    commands.Settle: settle,
    commands.Release: release,
    commands.Expire: expire,
    commands.Refund: refund,
    commands.Accept: accept,
    commands.EndTask: end_task,
}


def stream_of(kind: str, number: int) -> StreamId:
    return streams.named(f"{kind}:{number}")
