"""`decide` against the oracle: whatever is asked, in whatever order, answers and balances are those of the oracle."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from domain import commands
from domain.books import Decision, Guard, Result
from domain.commands import Command
from domain.ledger import RULES
from tests.laws import asking, asks, oracle, saying
from tests.laws.altering import altered, is_named
from tests.laws.asks import ABOUT_ONE_CODE, ABOUT_ONE_PAYMENT, ABOUT_ONE_USER, ON_A_CHARGE, Ask, amounts, ask
from tests.laws.calls import TTL_MS
from tests.laws.memory import Memory
from tests.laws.oracle import Answer
from tests.laws.seeds import SEED, examples

FIGURES = {"created", "exists", "unchanged", "insufficient", "frozen", "too_large"}
"""Answers whose figures the caller may rely on."""
openings = st.sampled_from([0, 3_000, 20_000, 10**6])
LAW = settings(max_examples=examples(250), stateful_step_count=40, deadline=None, database=None)


def test_decide_answers_as_the_oracle_does_and_keeps_every_invariant() -> None:
    run_state_machine_as_test(seed(SEED)(Ledger), settings=LAW)


@pytest.mark.parametrize("name", sorted(commands.__all__))
def test_every_command_has_a_rule_in_the_ledger_and_one_in_the_oracle(name: str) -> None:
    kind = getattr(commands, name)
    is_command = isinstance(kind, type) and issubclass(kind, Command)
    is_abstract = is_command and any(sub.__module__.startswith("domain.") for sub in kind.__subclasses__())

    if is_command and (kind in RULES or not is_abstract):
        assert kind in RULES
        assert kind in oracle.RULES


def test_every_command_is_drawn_by_some_ask() -> None:
    drawn = {type(asks.MADE[kind](*drawable(kind))) for kind in asks.MADE}

    unreachable_on_an_empty_ledger = {
        commands.Extend, commands.Settle, commands.Release, commands.Expire, commands.Refund, commands.Accept,
        commands.EndTask, commands.RedeemCode, commands.SettleTopUp, commands.ResolveTopUp, commands.FailTopUp,
    }  # fmt: skip
    assert drawn | unreachable_on_an_empty_ledger == set(RULES)


class Ledger(RuleBasedStateMachine):
    """The ledger and the oracle, asked the same."""

    def __init__(self) -> None:
        super().__init__()
        self.oracle, self.world = asks.oracle_world()
        self.memory = Memory()
        self.sent: list[Command] = []
        self.stands: list[Command] = []

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

    @rule(which=st.integers(0, 3), asks=st.lists(ask(ON_A_CHARGE), min_size=2, max_size=6), alone=st.booleans())
    def several_on_one_charge(self, which: int, asks: list[Ask], alone: bool) -> None:
        self.send_some([each._replace(which=which) for each in asks], alone)

    @rule(which=st.integers(0, 3), asks=st.lists(ask(ABOUT_ONE_CODE), min_size=2, max_size=6), alone=st.booleans())
    def several_about_one_code(self, which: int, asks: list[Ask], alone: bool) -> None:
        self.send_some([each._replace(which=which) for each in asks], alone)

    @rule(which=st.integers(0, 3), asks=st.lists(ask(ABOUT_ONE_PAYMENT), min_size=2, max_size=6), alone=st.booleans())
    def several_about_one_payment(self, which: int, asks: list[Ask], alone: bool) -> None:
        self.send_some([each._replace(which=which) for each in asks], alone)

    @rule(who=st.integers(0, 2), asks=st.lists(ask(ABOUT_ONE_USER), min_size=2, max_size=6), alone=st.booleans())
    def several_about_one_user(self, who: int, asks: list[Ask], alone: bool) -> None:
        self.send_some([each._replace(who=who) for each in asks], alone)

    @rule(back=st.integers(0, 200))
    def an_old_command_again(self, back: int) -> None:
        self.decide([self.sent[-1 - back % len(self.sent)]])

    @rule(back=st.integers(0, 200))
    def one_that_stands_again(self, back: int) -> None:
        command = self.stands[-1 - back % len(self.stands)] if self.stands else None
        if command is not None:
            again = self.decide([command]).results[0].status
            assert again == "exists" or (again == "already_settled" and isinstance(command, commands.FailTopUp))

    @rule(back=st.integers(0, 200), amount=amounts)
    def an_old_command_altered(self, back: int, amount: int) -> None:
        self.decide([altered(self.sent[-1 - back % len(self.sent)], amount)])

    @rule(ms=st.sampled_from([1, 999, 1_000, TTL_MS - 1, TTL_MS, 10 * TTL_MS, 86_400_000]))
    def time_passes(self, ms: int) -> None:
        self.world.now += ms

    def send_some(self, asks: Sequence[Ask], alone: bool) -> None:
        for batch in [[each] for each in asks] if alone else [asks]:
            self.send(batch)

    def send(self, batch: Sequence[Ask]) -> None:
        """Each ask is made a command for the world that those before it left."""
        made: list[Command] = []
        expected: list[Answer] = []
        for each in batch:
            made.append(asks.command(self.world, each))
            expected.append(self.oracle.answer(made[-1], self.world.now))
        self.compare(made, expected)

    def decide(self, batch: Sequence[Command]) -> Decision:
        return self.compare(batch, [self.oracle.answer(command, self.world.now) for command in batch])

    def compare(self, batch: Sequence[Command], expected: Sequence[Answer]) -> Decision:
        decision = self.memory.commit(batch, self.world.now)
        self.sent += batch

        assert [answer(result) for result in decision.results] == list(expected)
        for command, result in zip(batch, decision.results, strict=True):
            self.explain(command, result)
        if len(batch) == 1:
            saying.check_all(batch[0], decision.entries, self.world.now)
        if not any(result.status in {"created", "flagged"} for result in decision.results):
            assert not decision.entries, "a refused command left a trace"
            assert not decision.balances, "a refused command moved something"
        return decision

    def explain(self, command: Command, result: Result) -> None:
        if result.status == "created":
            assert result.fact is not None
            saying.check(command, result.fact, self.world.now)
            if is_named(command):
                self.stands.append(command)
        if isinstance(command, commands.SettleTopUp) and result.status == "flagged":
            saying.check_flagged(command, result)
        asking.check(self.memory, result)

    @invariant()
    def the_balances_are_the_oracles(self) -> None:
        expected = {account: balance for account, balance in self.oracle.balances.items() if balance}
        assert {account: balance for account, balance in self.memory.auditor.balances.items() if balance} == expected
        guarded = {a: g.balance for a, g in self.memory.balances.items() if g.balance}
        assert guarded == {a: b for a, b in expected.items() if not a.startswith("platform:") and "cap_spent" not in a}

    @invariant()
    def the_floors_are_the_oracles(self) -> None:
        users = range(1, self.oracle.balances["seq:user"] + 1)
        floors = {u: self.memory.balances.get(f"user:{u}:available", Guard(0)).floor for u in users}
        assert floors == {u: LIMIT + 1 if u in self.oracle.frozen else -self.oracle.credit[u] for u in users}
        budgets = {c: self.memory.balances[f"code:{c}:budget"] for c in self.oracle.codes}
        assert {c for c, guard in budgets.items() if guard.floor is None} == self.memory.auditor.unbounded


LIMIT = oracle.LIMIT


def answer(result: Result) -> Answer:
    """What the oracle says of it: figures only where the caller may rely on them."""
    if result.status not in FIGURES or (result.status == "too_large" and not result.account):
        return Answer(result.status, result.id, why=result.why if result.status == "flagged" else "")
    return Answer(result.status, result.id, result.needed, result.available, result.account)


def drawable(kind: str) -> tuple[asks.World, Ask]:
    return asks.oracle_world()[1], Ask(kind, amount=5, odd=8)
