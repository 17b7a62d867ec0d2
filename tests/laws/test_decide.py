"""`decide` against the oracle: whatever is asked, in whatever order, answers and balances are those of the oracle."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from domain import commands
from domain.books import Result
from domain.commands import Command
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled
from tests.laws.asks import ON_A_CHARGE, START_MS, Ask, World, amounts, ask
from tests.laws.calls import TTL_MS
from tests.laws.memory import Memory
from tests.laws.oracle import Answer, Oracle
from tests.laws.seeds import SEED

ENDS = ChargeSettled | ChargeReleased | ChargeExpired
openings = st.sampled_from([0, 3_000, 20_000, 10**6])
LAW = settings(max_examples=250, stateful_step_count=40, deadline=None, database=None)


def test_decide_answers_as_the_oracle_does_and_keeps_every_invariant() -> None:
    run_state_machine_as_test(seed(SEED)(Ledger), settings=LAW)


class Ledger(RuleBasedStateMachine):
    """The ledger and the oracle, asked the same."""

    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle()
        self.world = World(self.oracle)
        self.memory = Memory()
        self.now = START_MS
        self.sent: list[Command] = []

    @initialize(first=openings, second=openings, limit=openings)
    def two_users_and_their_keys(self, first: int, second: int, limit: int) -> None:
        self.send([Ask("register_user", which=0, amount=first), Ask("register_user", which=1, amount=second)])
        self.send([Ask("register_key", who=0), Ask("register_key", who=1, which=1, amount=limit)])

    @rule(ask=ask())
    def one(self, ask: Ask) -> None:
        self.send([ask])

    @rule(asks=st.lists(ask(), min_size=2, max_size=6))
    def several_in_one_batch(self, asks: list[Ask]) -> None:
        self.send(asks)

    @rule(which=st.integers(0, 11), asks=st.lists(ask(ON_A_CHARGE), min_size=2, max_size=5))
    def several_on_one_charge_in_one_batch(self, which: int, asks: list[Ask]) -> None:
        self.send([each._replace(which=which) for each in asks])

    @rule(back=st.integers(0, 200))
    def an_old_command_again(self, back: int) -> None:
        self.decide([self.sent[-1 - back % len(self.sent)]])

    @rule(back=st.integers(0, 200), amount=amounts)
    def an_old_command_altered(self, back: int, amount: int) -> None:
        self.decide([altered(self.sent[-1 - back % len(self.sent)], amount)])

    @rule(ms=st.sampled_from([1, 1_000, TTL_MS - 1, TTL_MS, 10 * TTL_MS]))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    def send(self, asks: Sequence[Ask]) -> None:
        """Each ask is made a command for the world that those before it left."""
        batch: list[Command] = []
        expected: list[Answer] = []
        for each in asks:
            batch.append(self.world.command(each))
            expected.append(self.oracle.answer(batch[-1], self.now))
        self.compare(batch, expected)

    def decide(self, batch: Sequence[Command]) -> None:
        self.compare(batch, [self.oracle.answer(command, self.now) for command in batch])

    def compare(self, batch: Sequence[Command], expected: Sequence[Answer]) -> None:
        before = self.available()
        facts_before = len(self.memory.log)
        decision = self.memory.commit(batch, self.now)
        self.sent += batch

        assert [answer(result) for result in decision.results] == list(expected)
        if not any(result.status == "created" for result in decision.results):
            assert len(self.memory.log) == facts_before, "a refused command left a trace"
            assert not decision.balances, "a refused command moved something"
        if not any(isinstance(command, commands.Adjust) for command in batch):
            fallen = {a for a, now in self.available().items() if now < 0 and now < before.get(a, 0)}
            assert not fallen, f"below the floor without a correction: {fallen}"

    @invariant()
    def the_balances_are_the_oracles(self) -> None:
        expected = {account: balance for account, balance in self.oracle.balances.items() if balance}
        assert self.summed() == expected
        guarded = {a: g.balance for a, g in self.memory.balances.items() if g.balance}
        assert guarded == {a: b for a, b in expected.items() if not a.startswith("platform:") and "cap_spent" not in a}

    @invariant()
    def every_fact_only_moves_value(self) -> None:
        for facts in self.memory.streams.values():
            for fact in facts:
                sums: Counter[str] = Counter()
                for account, delta in fact.postings:
                    sums[asset(account)] += delta
                assert not any(sums.values()), f"{fact} makes or loses value"

    @invariant()
    def what_is_held_is_the_sum_of_the_open_charges(self) -> None:
        open_mills: Counter[str] = Counter()
        for facts in self.memory.streams.values():
            first = facts[0]
            if isinstance(first, ChargeHeld) and len(facts) == 1:
                open_mills[f"user:{first.user}:held"] += first.amount
                open_mills[f"key:{first.key}:cap_held"] += first.amount if first.capped else 0
            if isinstance(first, ChargeExtended) and len(self.memory.streams[first.charge]) == 1:
                open_mills[f"user:{first.user}:held"] += first.amount
                open_mills[f"key:{first.key}:cap_held"] += first.amount if first.capped else 0
        held = {a: g.balance for a, g in self.memory.balances.items() if a.endswith("held") and g.balance}
        assert held == {account: mills for account, mills in open_mills.items() if mills}

    @invariant()
    def a_charge_ends_at_most_once_and_at_its_second_version(self) -> None:
        for facts in self.memory.streams.values():
            ends = [number for number, fact in enumerate(facts, start=1) if isinstance(fact, ENDS)]
            assert ends in ([], [2])

    def available(self) -> dict[str, int]:
        return {account: guard.balance for account, guard in self.memory.balances.items()}

    def summed(self) -> dict[str, int]:
        sums: defaultdict[str, int] = defaultdict(int)
        for facts in self.memory.streams.values():
            for fact in facts:
                for account, delta in fact.postings:
                    sums[account] += delta
        return {account: total for account, total in sums.items() if total}


def answer(result: Result) -> Answer:
    """What the oracle says of it: amounts only where the caller is told what was needed and what was there."""
    if result.status == "insufficient":
        return Answer(result.status, 0, result.needed, result.available, result.account)
    return Answer(result.status, result.id, available=result.available if result.status == "unchanged" else 0)


def altered(command: Command, amount: int) -> Command:
    """The same command about another amount."""
    match command:
        case commands.Hold() | commands.Extend() | commands.Grant():
            return msgspec.structs.replace(command, amount=amount)
        case commands.Settle():
            return msgspec.structs.replace(command, cost=amount)
        case commands.Adjust():
            field = "target" if command.delta is None else "delta"
            return msgspec.structs.replace(command, **{field: amount})
    return command


def asset(account: str) -> str:
    if account.startswith(("seq:", "platform:sequence")):
        return "ids"
    return "allowance" if account.startswith(("key:", "platform:cap")) else "money"
