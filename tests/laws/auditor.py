"""Reads facts as they are written and knows nothing of commands: what must be true of any log, whoever wrote it.

It keeps its own sums, so a balance here is the sum of the postings and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from domain import events
from domain.books import Entry
from domain.events import (
    ChargeExpired,
    ChargeExtended,
    ChargeHeld,
    ChargeRefunded,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
    Fact,
)
from tests.laws.oracle_state import LIMIT

LARGEST = 2**63 - 1
MAY_PASS_FLOORS = (events.QuotaAdjusted, events.QuotaOpened, events.TopUpReversed)


class Auditor:
    """Everything that a log has come to so far."""

    def __init__(self) -> None:
        self.balances: Counter[str] = Counter()
        self.floors: dict[str, int | None] = {}
        self.open_mills: Counter[str] = Counter()
        self.open: defaultdict[str, list[ChargeHeld | ChargeExtended]] = defaultdict(list)
        self.lengths: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.refunded: dict[tuple[str, str], int] = {}
        self.once: set[tuple[object, ...]] = set()
        self.budgets: Counter[int] = Counter()
        self.unbounded: set[int] = set()
        self.credited: Counter[tuple[str, str]] = Counter()

    def read(self, entries: Sequence[Entry], now: int) -> None:
        """The facts of one commit, made at `now`."""
        for entry in entries:
            assert entry.fact.at == now, "a fact says when it was recorded"
            self.lengths[entry.stream] += 1
            assert entry.version == self.lengths[entry.stream], "a stream has no gaps"
            self._move(entry.fact)
            check = CHECKS.get(type(entry.fact))
            if check is not None:
                check(self, entry)
        self._bounds(entries)

    def _move(self, fact: Fact) -> None:
        sums: Counter[str] = Counter()
        names = [account for account, _ in fact.postings]
        assert len(names) == len(set(names)), f"{fact} names an account twice"
        for account, delta in fact.postings:
            sums[_asset(account)] += delta
            self.balances[account] += delta
            floor = self.floors.get(account, 0)
            if delta < 0 and floor is not None and not _is_platform(account):
                above = self.balances[account] >= floor
                assert above or isinstance(fact, MAY_PASS_FLOORS), f"{fact} takes {account} below its floor"
        assert not any(sums.values()), f"{fact} makes or loses value"
        self.floors.update(fact.floors)

    def _bounds(self, entries: Sequence[Entry]) -> None:
        for name in {account for entry in entries for account, _ in entry.fact.postings}:
            if _is_platform(name):
                continue
            assert abs(self.balances[name]) <= LIMIT < LARGEST, f"{name} holds {self.balances[name]}"
            owner, _, what = name.rpartition(":")
            if what in {"available", "held", "cap", "cap_held"}:
                plain, held = ("cap", "cap_held") if what.startswith("cap") else ("available", "held")
                together = self.balances[f"{owner}:{plain}"] + self.balances[f"{owner}:{held}"]
                assert together <= LIMIT, f"what {owner} holds cannot be given back"
                assert self.balances[f"{owner}:{held}"] == self.open_mills[f"{owner}:{held}"]

    def happens_once(self, *what: object) -> None:
        assert what not in self.once, f"{what} happened twice"
        self.once.add(what)


def _held(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, ChargeHeld | ChargeExtended)
    charge = fact.charge if isinstance(fact, ChargeExtended) else entry.stream
    assert entry.version == 1, "a hold begins its stream"
    log.open[charge].append(fact)
    log.open_mills[f"user:{fact.user}:held"] += fact.amount
    log.open_mills[f"key:{fact.key}:cap_held"] += fact.amount if fact.capped else 0


def _ended(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, ChargeSettled | ChargeReleased | ChargeExpired)
    assert entry.version == 2, "the end of a charge is its second version"
    log.happens_once("end", entry.stream)
    held = sum(hold.amount for hold in log.open[entry.stream])
    assert fact.held == held, "an end says what was held"
    log.open_mills[f"user:{fact.user}:held"] -= held
    log.open_mills[f"key:{fact.key}:cap_held"] -= held if fact.capped else 0
    if isinstance(fact, ChargeSettled):
        assert (fact.paid, fact.written_off) == _bill(log, entry, fact, held)


def _settled_late(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, ChargeSettledLate)
    assert entry.version == 3, "a late settlement follows the expiry"
    log.happens_once("late", entry.stream)
    assert (fact.paid, fact.written_off) == _bill(log, entry, fact, 0)
    assert fact.command_key == "late"


def _bill(log: Auditor, entry: Entry, fact: ChargeSettled | ChargeSettledLate, held: int) -> tuple[int, int]:
    """(paid, written off) as the postings have it."""
    moved = Counter(dict(fact.postings))
    paid, lost = held - moved[f"user:{fact.user}:available"], -moved["platform:writeoff"]
    assert moved["platform:revenue"] == fact.cost == paid + lost
    assert moved[f"key:{fact.key}:cap_spent"] == (paid if fact.capped else 0)
    assert all(delta for _, delta in fact.postings), "nothing is posted where nothing moved"
    log.paid[entry.stream] = paid
    return paid, lost


def _refunded(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, ChargeRefunded)
    log.happens_once("refund", entry.stream, fact.command_key)
    log.refunded[entry.stream, fact.command_key] = fact.amount
    back = sum(mills for (charge, _), mills in log.refunded.items() if charge == entry.stream)
    assert 0 < back <= log.paid[entry.stream], "more comes back than was paid"
    assert Counter(dict(fact.postings))[f"user:{fact.user}:available"] == fact.amount


def _task_failed(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.TaskFailed)
    log.happens_once("task", entry.stream)
    assert fact.refunded == log.refunded.get((fact.charge, f"task:{entry.stream}"), 0)
    back = sum(mills for (charge, _), mills in log.refunded.items() if charge == fact.charge)
    assert back == log.paid[fact.charge], "a failed task costs nothing"


def _task_succeeded(log: Auditor, entry: Entry) -> None:
    log.happens_once("task", entry.stream)


def _issued(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.CodeIssued)
    log.budgets[fact.id] = dict(fact.postings).get(f"code:{fact.id}:budget", 0)
    if fact.max_uses is None:
        log.unbounded.add(fact.id)


def _changed(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.CodeChanged)
    assert dict(fact.postings).get(f"code:{fact.id}:budget", 0) == fact.delta
    log.budgets[fact.id] += fact.delta


def _deleted(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.CodeDeleted)
    assert -dict(fact.postings).get(f"code:{fact.id}:budget", 0) == fact.rest
    assert fact.id in log.unbounded or not log.balances[f"code:{fact.id}:budget"]
    log.budgets[fact.id] -= fact.rest


def _redeemed(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.CodeRedeemed)
    log.happens_once("code", fact.code, fact.user)
    log.budgets[fact.code] -= fact.amount
    assert fact.code in log.unbounded or log.budgets[fact.code] >= 0, "a code pays out more than its budget"
    assert dict(fact.postings)[f"user:{fact.user}:available"] == fact.amount


def _paid_in(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.TopUpSettled)
    log.happens_once("payment", fact.provider, fact.trade)
    log.credited[fact.provider, fact.trade] = fact.amount
    assert dict(fact.postings)[f"user:{fact.user}:available"] == fact.amount


def _reversed(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.TopUpReversed)
    log.happens_once("reversal", fact.provider, fact.trade, fact.command_key)
    log.credited[fact.provider, fact.trade] -= fact.amount
    assert log.credited[fact.provider, fact.trade] >= 0, "more is reversed than was credited"
    assert dict(fact.postings)[f"user:{fact.user}:available"] == -fact.amount


def _checked_in(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.CheckedIn)
    log.happens_once("day", fact.user, fact.day)
    assert dict(fact.postings)[f"user:{fact.user}:available"] == fact.amount


def _rebated(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.RebateGranted)
    log.happens_once("rebate", fact.source)
    assert fact.user != fact.invited, "nobody brings themselves"
    assert dict(fact.postings)[f"user:{fact.user}:available"] == fact.amount > 0


def _adjusted(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.QuotaAdjusted)
    log.happens_once("adjustment", fact.command_key)
    account = f"user:{fact.user}:available"
    assert dict(fact.postings)[account] == fact.delta
    assert fact.before + fact.delta == log.balances[account]


def _limited(log: Auditor, entry: Entry) -> None:
    fact = entry.fact
    assert isinstance(fact, events.KeyLimitChanged)
    assert dict(fact.postings).get(f"key:{fact.id}:cap", 0) == fact.delta
    assert all(delta for _, delta in fact.postings), "nothing is posted where nothing moved"


CHECKS: dict[type[Fact], Callable[[Auditor, Entry], None]] = {
    ChargeHeld: _held,
    ChargeExtended: _held,
    ChargeSettled: _ended,
    ChargeReleased: _ended,
    ChargeExpired: _ended,
    ChargeSettledLate: _settled_late,
    ChargeRefunded: _refunded,
    events.TaskFailed: _task_failed,
    events.TaskSucceeded: _task_succeeded,
    events.CodeIssued: _issued,
    events.CodeChanged: _changed,
    events.CodeDeleted: _deleted,
    events.CodeRedeemed: _redeemed,
    events.TopUpSettled: _paid_in,
    events.TopUpReversed: _reversed,
    events.CheckedIn: _checked_in,
    events.RebateGranted: _rebated,
    events.QuotaAdjusted: _adjusted,
    events.KeyLimitChanged: _limited,
}


def _is_platform(account: str) -> bool:
    return account.startswith("platform:") or account.endswith(":cap_spent")


def _asset(account: str) -> str:
    if account.startswith(("seq:", "platform:sequence")):
        return "ids"
    return "allowance" if account.startswith(("key:", "platform:cap")) else "money"
