"""The database of the simulation: as strict as a real one, and rebuilt from its own bytes whenever a standby takes over.

A command sees only the accounts and streams that it names. A fact at a version that is taken, and a balance that is moved without
having been read, are errors. What is committed is bytes; nothing is remembered of the facts that they were made from.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from domain.books import EMPTY, Decision, Guard, Result
from domain.commands import Command
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled, Fact
from domain.ledger import decide
from domain.streams import StreamId
from ledger.errors import LedgerUnavailable
from ledger.mapper import Recorded, decode, encode
from ledger.store import OpenHold, Seal, StoredFact
from tests.simulator.faults import Breach

ENDINGS = (ChargeSettled, ChargeReleased, ChargeExpired)

Committed = Callable[[Sequence[Command], Decision, list[Recorded], list[StoredFact], int], None]
"""Told of each commit: commands, decision, the facts as they are read back, their bytes, the ledger's time."""


class Database:
    """Facts, guards, open holds, seals and leads. `generation` counts fail-overs."""

    def __init__(self, now_ms: Callable[[], int], committed: Committed) -> None:
        self.now_ms = now_ms
        self.committed = committed
        self.is_down = False
        self.generation = 0
        self.rows: list[StoredFact] = []
        self.small: list[int] = []
        """Indexes of facts that are not of charges."""
        self.facts: list[Fact] = []
        self.streams: dict[StreamId, list[Fact]] = {}
        self.guards: dict[str, Guard] = {}
        self.holds: dict[StreamId, OpenHold] = {}
        self.seals: list[Seal] = []
        self.leads: dict[str, object] = {}
        self._last_now_ms = 0

    def commit(self, batch: Sequence[Command]) -> list[Result]:
        """In one transaction. Raises LedgerUnavailable."""
        self.must_be_up()
        named = {account for command in batch for account in command.accounts()}
        streams = {stream for command in batch for stream in command.streams()}
        guards = {account: self.guards[account] for account in named if account in self.guards}
        history = {stream: tuple(self.streams[stream]) for stream in streams if stream in self.streams}
        now = self._last_now_ms = max(self._last_now_ms, self.now_ms())
        decision = decide(batch, guards, history, now)
        recorded, stored = self._write(decision, named)
        self.committed(batch, decision, recorded, stored, now)
        return decision.results

    def _write(self, decision: Decision, named: set[str]) -> tuple[list[Recorded], list[StoredFact]]:
        recorded: list[Recorded] = []
        stored: list[StoredFact] = []
        for stream, version, fact in decision.entries:
            row = StoredFact(len(self.rows) + 1, stream, version, fact.TOPIC, encode(fact))
            stored.append(row)
            recorded.append(Recorded(row.position, stream, version, self._append(row)))
        for account, guard in decision.balances.items():
            if account not in named and self.guards.get(account, EMPTY) != EMPTY:
                raise Breach(f"{account} was moved without having been read")
            self.guards[account] = guard
        return recorded, stored

    def _append(self, row: StoredFact) -> Fact:
        fact = decode(row.topic, row.state)
        past = self.streams.setdefault(row.stream, [])
        if row.version != len(past) + 1:
            raise Breach(f"{row.topic} was written at version {row.version} after {len(past)}")
        past.append(fact)
        if not row.topic.startswith("charge."):
            self.small.append(len(self.rows))
        self.rows.append(row)
        self.facts.append(fact)
        self._note_hold(row.stream, fact)
        return fact

    def _note_hold(self, stream: StreamId, fact: Fact) -> None:
        if isinstance(fact, ChargeHeld):
            payer = (fact.user, fact.key, fact.capped)
            self.holds[stream] = OpenHold(stream, *payer, fact.amount, 0, fact.node, fact.epoch, fact.deadline)
        elif isinstance(fact, ChargeExtended):
            hold = self.holds.get(fact.charge)
            if hold is not None:
                self.holds[fact.charge] = hold._replace(amount=hold.amount + fact.amount, extensions=fact.n)
        elif isinstance(fact, ENDINGS):
            self.holds.pop(stream, None)

    def fail_over(self, *, lost: int = 0) -> None:
        """A standby takes over with the bytes that it has: all of them, where it is synchronous."""
        rows, guards, holds = self.rows, self.guards, self.holds
        kept = rows[: len(rows) - lost]
        self.rows, self.small, self.facts, self.streams, self.holds, self.guards = [], [], [], {}, {}, {}
        for row in kept:
            fact = self._append(row)
            for account, delta in fact.postings:
                guard = self.guards.get(account, EMPTY)
                self.guards[account] = guard._replace(balance=guard.balance + delta)
            for account, floor in fact.floors:
                self.guards[account] = self.guards.get(account, EMPTY)._replace(floor=floor)
        self._must_agree(guards, holds, lost)
        self.guards = {account: guard for account, guard in self.guards.items() if account in guards}
        self.generation += 1
        self.leads.clear()

    def _must_agree(self, guards: dict[str, Guard], holds: dict[StreamId, OpenHold], lost: int) -> None:
        if lost:
            return
        if holds != self.holds:
            raise Breach("the open holds are not those of the log")
        for account, guard in guards.items():
            if self.guards.get(account, EMPTY) != guard:
                raise Breach(f"{account} is {guard}, its facts make {self.guards.get(account, EMPTY)}")

    def must_be_up(self) -> None:
        if self.is_down:
            raise LedgerUnavailable("the database does not answer")

    def head(self) -> int:
        self.must_be_up()
        return len(self.rows)

    def read_stream(self, stream: StreamId) -> list[Recorded]:
        self.must_be_up()
        facts = self.streams.get(stream, [])
        return [Recorded(0, stream, version, fact) for version, fact in enumerate(facts, 1)]

    def read_log(self, after: int, limit: int) -> list[Recorded]:
        self.must_be_up()
        rows = self.rows[after : after + limit]
        facts = self.facts[after : after + limit]
        return [Recorded(row.position, row.stream, row.version, fact) for row, fact in zip(rows, facts, strict=True)]

    def read_stored(self, after: int, limit: int) -> list[StoredFact]:
        self.must_be_up()
        return self.rows[max(0, after) : max(0, after) + limit]

    def open_holds(self, *, limit: int = 1000, after: StreamId = "") -> list[OpenHold]:
        self.must_be_up()
        found = sorted(charge for charge in self.holds if charge > after)
        return [self.holds[charge] for charge in found[:limit]]

    def read_seals(self, after: int, limit: int) -> list[Seal]:
        self.must_be_up()
        return self.seals[max(0, after) : max(0, after) + limit]

    def last_seal(self) -> Seal | None:
        self.must_be_up()
        return self.seals[-1] if self.seals else None

    def append_seal(self, seal: Seal) -> bool:
        self.must_be_up()
        if seal.number != len(self.seals) + 1:
            return False
        self.seals.append(seal)
        return True

    @contextmanager
    def snapshot(self) -> Generator[Database]:
        yield self

    def take_lead(self, name: str, who: object) -> bool:
        """True when `who` has the lead by now."""
        self.must_be_up()
        return self.leads.setdefault(name, who) is who

    def lose_leads(self, who: object) -> None:
        self.leads = {name: leader for name, leader in self.leads.items() if leader is not who}
