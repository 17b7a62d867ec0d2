"""The laws that stored facts keep, whoever wrote them: looked at with every fact, and again from the bytes of the whole log.

It knows postings, floors and topics. It does not know why a rule decided as it did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b

from domain.books import Guard
from domain.events import (
    ChargeExpired,
    ChargeExtended,
    ChargeHeld,
    ChargeRefunded,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
    CheckedIn,
    CodeIssued,
    CodeRedeemed,
    Fact,
    TaskAccepted,
    TaskFailed,
    TaskSucceeded,
    TopUpReversed,
    TopUpSettled,
)
from domain.streams import StreamId
from ledger.mapper import decode
from ledger.store import OpenHold, StoredFact
from tests.simulator.faults import Breach

MOST = 9 * 10**18
"""Mills on one account."""
MAY_PASS_A_FLOOR = frozenset({"quota.adjusted/1", "quota.opened/1", "topup.reversed/1"})
ENDINGS = (ChargeSettled, ChargeReleased, ChargeExpired)


class Watch:
    """A log so far. `sums` has every account, `floors` what was set."""

    def __init__(self, dead_epochs: set[str]) -> None:
        self.sums: defaultdict[str, int] = defaultdict(int)
        self.floors: dict[str, int | None] = {}
        self.written: set[tuple[str, bytes]] = set()
        self.open: dict[StreamId, ChargeHeld] = {}
        self.held_by: defaultdict[str, int] = defaultdict(int)
        """Mills that open charges hold, by user."""
        self.count = 0
        self.chain = b""
        self._dead_epochs = dead_epochs
        self._held: dict[StreamId, int] = {}
        self._last: dict[StreamId, int] = {}
        self._at = 0
        self._paid: dict[StreamId, int] = {}
        self._refunds: dict[StreamId, set[str]] = {}
        self._credits: dict[StreamId, int] = {}
        self._uses: dict[int, int | None] = {}
        self._redeemed: set[tuple[int, int]] = set()
        self._tasks: dict[StreamId, int] = {}

    def see(self, row: StoredFact, fact: Fact) -> None:
        self.count += 1
        self.chain = blake2b(self.chain + f"{row[:4]}".encode() + row.state, digest_size=16).digest()
        self.written.add((row.topic, row.state))
        if row.position != self.count:
            raise Breach(f"the fact at {row.position} came in place {self.count}")
        if row.version != self._last.get(row.stream, 0) + 1:
            raise Breach(f"{row.topic} is version {row.version} after {self._last.get(row.stream, 0)}")
        self._last[row.stream] = row.version
        if fact.at < self._at:
            raise Breach(f"{row.topic} is of {fact.at} ms and stands behind one of {self._at} ms")
        self._at = fact.at
        self._move(row, fact)
        check: Callable[..., None] | None = CHECKS.get(type(fact))
        if check is not None:
            check(self, row, fact)

    def _move(self, row: StoredFact, fact: Fact) -> None:
        sums: dict[str, int] = {}
        for account, delta in fact.postings:
            asset = _asset(account)
            sums[asset] = sums.get(asset, 0) + delta
            balance = self.sums[account] = self.sums[account] + delta
            if not _is_guarded(account):
                continue
            floor = self.floors.get(account, 0)
            if delta < 0 and floor is not None and balance < floor and row.topic not in MAY_PASS_A_FLOOR:
                raise Breach(f"{row.topic} left {account} at {balance}, its floor is {floor}")
            if balance > MOST:
                raise Breach(f"{row.topic} left {account} at {balance}, more than an account holds")
        if any(sums.values()):
            raise Breach(f"{row.topic} at {row.position} makes or loses value: {sums}")
        self.floors.update(fact.floors)

    def held(self, row: StoredFact, fact: ChargeHeld) -> None:
        if row.version != 1:
            raise Breach(f"a hold is version {row.version} of its charge")
        self.open[row.stream], self._held[row.stream] = fact, fact.amount
        self.held_by[f"user:{fact.user}:held"] += fact.amount

    def extended(self, row: StoredFact, fact: ChargeExtended) -> None:
        if row.version != 1 or fact.charge not in self.open:
            raise Breach(f"extension {fact.n} of {fact.charge} extends nothing that is open")
        self._held[fact.charge] += fact.amount
        self.held_by[f"user:{fact.user}:held"] += fact.amount

    def ended(self, row: StoredFact, fact: Fact) -> None:
        assert isinstance(fact, ENDINGS), "the table of checks says so"
        hold = self.open.pop(row.stream, None)
        if row.version != 2 or hold is None:
            raise Breach(f"{row.topic} is version {row.version} of a charge that was not open")
        if fact.held != self._held[row.stream] or (fact.user, fact.key, fact.capped) != (
            hold.user,
            hold.key,
            hold.capped,
        ):
            raise Breach(f"{row.topic} ends another hold than {row.stream} has")
        self.held_by[f"user:{fact.user}:held"] -= fact.held
        if isinstance(fact, ChargeSettled):
            self._bill(row, fact)
        if isinstance(fact, ChargeExpired) and fact.at < hold.deadline and hold.epoch not in self._dead_epochs:
            raise Breach(f"the hold of {hold.epoch}, which lives, was ended {hold.deadline - fact.at} ms early")

    def settled_late(self, row: StoredFact, fact: ChargeSettledLate) -> None:
        if row.stream in self._paid:
            raise Breach(f"{row.stream} was settled twice")
        self._bill(row, fact)

    def _bill(self, row: StoredFact, fact: ChargeSettled | ChargeSettledLate) -> None:
        if fact.cost != fact.price.cost_mills(fact.usage) or fact.paid + fact.written_off != fact.cost:
            raise Breach(f"{row.topic} of {row.stream} does not add up")
        self._paid[row.stream] = fact.paid

    def refunded(self, row: StoredFact, fact: ChargeRefunded) -> None:
        keys = self._refunds.setdefault(row.stream, set())
        if fact.command_key in keys:
            raise Breach(f"{row.stream} was refunded twice for {fact.command_key}")
        keys.add(fact.command_key)
        self._paid[row.stream] = self._paid.get(row.stream, 0) - fact.amount
        if self._paid[row.stream] < 0:
            raise Breach(f"{row.stream} was refunded more than it paid")

    def settled_payment(self, row: StoredFact, fact: TopUpSettled) -> None:
        if row.stream in self._credits:
            raise Breach(f"payment {fact.trade} was credited twice")
        self._credits[row.stream] = fact.amount

    def reversed_payment(self, row: StoredFact, fact: TopUpReversed) -> None:
        self._credits[row.stream] = self._credits.get(row.stream, 0) - fact.amount
        if self._credits[row.stream] < 0:
            raise Breach(f"payment {fact.trade} was reversed by more than it credited")

    def issued(self, row: StoredFact, fact: CodeIssued) -> None:
        self._uses[fact.id] = fact.max_uses

    def redeemed(self, row: StoredFact, fact: CodeRedeemed) -> None:
        if (fact.code, fact.user) in self._redeemed:
            raise Breach(f"user {fact.user} used code {fact.code} twice")
        self._redeemed.add((fact.code, fact.user))
        left = self._uses[fact.code]
        if left is not None:
            self._uses[fact.code] = left - 1
            if left < 1:
                raise Breach(f"code {fact.code} was used more often than it may be")

    def checked_in(self, row: StoredFact, fact: CheckedIn) -> None:
        day = datetime.fromtimestamp(fact.at / 1000, UTC).strftime("%Y-%m-%d")
        if row.version != 1 or fact.day != day:
            raise Breach(f"user {fact.user} was rewarded for {fact.day} on {day}")

    def task_began(self, row: StoredFact, fact: TaskAccepted) -> None:
        if fact.charge not in self._paid:
            raise Breach(f"task {row.stream} began, and nobody paid for it")

    def task_ended(self, row: StoredFact, fact: TaskSucceeded | TaskFailed) -> None:
        if row.version != 2:
            raise Breach(f"task {row.stream} ended at version {row.version}")

    def compare(self, guards: Mapping[str, Guard], holds: Mapping[StreamId, OpenHold]) -> None:
        """What the store keeps beside the log says what the log says."""
        for account, guard in guards.items():
            self.compare_one(account, guard)
        for account, balance in self.sums.items():
            if balance and _is_guarded(account) and account not in guards:
                raise Breach(f"{account} holds {balance} and has no row")
        if sorted(self.open) != sorted(holds):
            raise Breach("the table of open holds is not what the log leaves open")
        for charge, hold in holds.items():
            if hold.amount != self._held[charge] or hold.deadline != self.open[charge].deadline:
                raise Breach(f"the open hold {charge} is not the one of the log")
        for account, amount in self.held_by.items():
            if self.sums[account] != amount:
                raise Breach(f"{account} has {self.sums[account]}, open charges hold {amount}")

    def compare_one(self, account: str, guard: Guard) -> None:
        if guard.balance != self.sums.get(account, 0):
            raise Breach(f"{account} has {guard.balance}, its postings make {self.sums.get(account, 0)}")
        if guard.floor != self.floors.get(account, 0):
            raise Breach(f"{account} has floor {guard.floor}, its facts say {self.floors.get(account, 0)}")


CHECKS: dict[type[Fact], Callable[..., None]] = {
    ChargeHeld: Watch.held,
    ChargeExtended: Watch.extended,
    ChargeSettled: Watch.ended,
    ChargeReleased: Watch.ended,
    ChargeExpired: Watch.ended,
    ChargeSettledLate: Watch.settled_late,
    ChargeRefunded: Watch.refunded,
    TopUpSettled: Watch.settled_payment,
    TopUpReversed: Watch.reversed_payment,
    CodeIssued: Watch.issued,
    CodeRedeemed: Watch.redeemed,
    CheckedIn: Watch.checked_in,
    TaskAccepted: Watch.task_began,
    TaskSucceeded: Watch.task_ended,
    TaskFailed: Watch.task_ended,
}


def from_bytes(rows: Iterable[StoredFact], dead_epochs: set[str]) -> Watch:
    watch = Watch(dead_epochs)
    for row in rows:
        watch.see(row, decode(row.topic, row.state))
    return watch


def _asset(account: str) -> str:
    if account.startswith("key:") or account == "platform:cap_grant":
        return "CAP"
    return "SEQ" if account.startswith("seq:") or account == "platform:sequence" else "QUOTA"


def _is_guarded(account: str) -> bool:
    return not account.startswith("platform:") and not account.endswith(":cap_spent")
