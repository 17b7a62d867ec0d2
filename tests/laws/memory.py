"""The smallest store that `decide` can be driven with: dictionaries, and the same strictness as a database.

A command sees only the accounts and streams that it names. A fact that is written at a version that is taken, or a balance
that is moved without having been read, is an error here, as it is in a database. And every fact passes the auditor.
"""

from __future__ import annotations

from collections.abc import Sequence

from domain.books import EMPTY, Decision, Guard
from domain.commands import Command
from domain.events import Fact
from domain.ledger import decide
from domain.streams import StreamId
from ledger.mapper import encode
from tests.laws.auditor import Auditor

Written = tuple[StreamId, int, str, bytes]
"""A fact as a store keeps it: stream, version, topic, bytes."""


class Memory:
    """Balances and streams of one ledger."""

    def __init__(self) -> None:
        self.balances: dict[str, Guard] = {}
        self.streams: dict[StreamId, list[Fact]] = {}
        self.log: list[Written] = []
        self.auditor = Auditor()

    def commit(self, batch: Sequence[Command], now: int) -> Decision:
        accounts = {account for command in batch for account in command.accounts()}
        streams = {stream for command in batch for stream in command.streams()}
        guards = {name: self.balances[name] for name in accounts if name in self.balances}
        history = {name: tuple(self.streams[name]) for name in streams if name in self.streams}
        decision = decide(batch, guards, history, now)
        self._write(decision, accounts)
        self.auditor.read(decision.entries, now)
        return decision

    def _write(self, decision: Decision, read: set[str]) -> None:
        for stream, version, fact in decision.entries:
            facts = self.streams.setdefault(stream, [])
            assert version == len(facts) + 1, f"{fact.TOPIC} was written at version {version} after {len(facts)}"
            facts.append(fact)
            self.log.append((stream, version, fact.TOPIC, encode(fact)))
        for account, guard in decision.balances.items():
            known = account in read or self.balances.get(account, EMPTY) == EMPTY
            assert known, f"{account} was moved without having been read"
            self.balances[account] = guard
