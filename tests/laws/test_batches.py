"""How commands fall into batches, and when and where they are decided, changes nothing: not an answer, not a byte."""

from __future__ import annotations

import builtins
import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NoReturn

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from domain import commands
from domain.books import Guard, Result
from domain.commands import Command
from domain.ledger import decide
from tests.laws import calls
from tests.laws.asks import START_MS, Ask, ask, command, oracle_world
from tests.laws.memory import Memory, Written
from tests.laws.seeds import SEED, examples

histories = st.lists(ask(), min_size=2, max_size=40)
LAW = settings(max_examples=examples(120), deadline=None, database=None)


@seed(SEED)
@LAW
@given(asks=histories, data=st.data())
def test_any_partition_of_commands_into_batches_gives_the_same_bytes_and_answers(
    asks: list[Ask], data: st.DataObject
) -> None:
    batch = resolved(asks)
    cuts = data.draw(st.sets(st.integers(1, len(batch) - 1)))

    whole, split, single = committed([batch]), committed(partition(batch, cuts)), committed([[c] for c in batch])

    assert split == whole
    assert single == whole


@seed(SEED)
@LAW
@given(asks=histories)
def test_the_same_batch_decided_twice_gives_the_same_bytes(asks: list[Ask]) -> None:
    batch = resolved(asks)

    assert committed([batch]) == committed([batch])


@seed(SEED)
@LAW
@given(asks=histories)
def test_deciding_leaves_what_it_was_given_as_it_was(asks: list[Ask]) -> None:
    memory = Memory()
    *first, last = resolved(asks)
    memory.commit(first, START_MS)
    balances, streams = dict(memory.balances), {name: list(facts) for name, facts in memory.streams.items()}

    decide([last], memory.balances, memory.streams, START_MS)

    assert (memory.balances, memory.streams) == (balances, streams)


@seed(SEED)
@settings(LAW, max_examples=examples(30))
@given(asks=histories)
def test_deciding_asks_neither_clock_nor_chance_nor_the_world(asks: list[Ask]) -> None:
    batch = resolved(asks)
    expected = committed([batch])

    with pytest.MonkeyPatch.context() as patch:
        cut_off_from_the_world(patch)
        found = decide(batch, {}, {}, START_MS)

    assert found.results == expected[1]


@seed(SEED)
@LAW
@given(
    data=st.data(), first=st.lists(st.integers(0, 99), max_size=15), second=st.lists(st.integers(0, 99), max_size=15)
)
def test_commands_on_accounts_of_their_own_may_change_places(
    data: st.DataObject, first: list[int], second: list[int]
) -> None:
    ours, theirs = ([doing(user, number) for number in drawn] for user, drawn in ((1, first), (2, second)))
    places = data.draw(st.permutations([0] * len(ours) + [1] * len(theirs)))
    sides = [iter(ours), iter(theirs)]
    memory, other = two_of_everything(), two_of_everything()

    memory.commit([*ours, *theirs], START_MS)
    other.commit([next(sides[place]) for place in places], START_MS)

    assert memory.balances == other.balances
    assert memory.streams == other.streams


def test_a_refused_command_does_not_spoil_its_neighbours() -> None:
    memory = Memory()
    memory.commit(resolved([]), START_MS)

    decision = memory.commit([hold(1, 0, 15_000), hold(1, 1, 15_000), hold(1, 2, 5_000)], START_MS)

    assert [result.status for result in decision.results] == ["created", "insufficient", "created"]
    assert memory.balances["user:1:available"] == Guard(0)


def resolved(asks: Sequence[Ask]) -> list[Command]:
    """The commands that a history of asks comes to, two funded users and their keys first."""
    oracle, world = oracle_world()
    opening = [Ask("register_user", which=n, amount=20_000) for n in range(2)]
    keys = [Ask("register_key", who=0), Ask("register_key", who=1, which=1, amount=9_000)]
    batch: list[Command] = []
    for each in [*opening, *keys, *asks]:
        batch.append(command(world, each))
        oracle.answer(batch[-1], START_MS)
    return batch


def committed(batches: Sequence[Sequence[Command]]) -> tuple[list[Written], list[Result], dict[str, Guard]]:
    memory = Memory()
    results = [result for batch in batches for result in memory.commit(batch, START_MS).results]
    return memory.log, results, memory.balances


def partition(batch: list[Command], cuts: set[int]) -> list[list[Command]]:
    edges = [0, *sorted(cuts), len(batch)]
    return [batch[start:end] for start, end in pairwise(edges)]


def two_of_everything() -> Memory:
    """Two users with 5,000 mills each, and a code, an order and a limited key for each of them."""
    memory = Memory()
    for user in (1, 2):
        code = calls.code(700, text=f"text-{user}", gift=True, uses=3)
        made = [calls.customer(f"user-{user}", grant=5_000), calls.key_of(user, limit=3_000), code]
        memory.commit([*made, calls.order(900, f"T{user}", user=user)], START_MS)
    return memory


def doing(user: int, number: int) -> Command:
    """One thing that a user does, or that is done to them, with nothing that another user has."""
    kind, call = number % len(DOINGS), calls.charge(100 * user + number % 3)
    return DOINGS[kind](user, call, number)


DOINGS: list[Callable[[int, str, int], Command]] = [
    lambda user, call, n: calls.hold(10 * n, call, user=user, key=user, capped=True),
    lambda user, call, n: calls.settle(9 * n, call, user=user, key=user, capped=True),
    lambda user, call, n: calls.release(call, user=user, key=user, capped=True),
    lambda user, call, n: calls.refund(n, call, name=f"r{n}", user=user, key=user, capped=True),
    lambda user, call, n: commands.Grant(user=user, amount=n + 1, why=f"why-{n}"),
    lambda user, call, n: commands.Adjust(command_key=f"{user}-{n}", user=user, delta=50 - n),
    lambda user, call, n: commands.CheckIn(user=user, day="2027-01-15", amount=n + 1),
    lambda user, call, n: commands.SetCreditLimit(user=user, limit=20 * n),
    lambda user, call, n: commands.Freeze(user=user) if n % 3 else commands.Unfreeze(user=user),
    lambda user, call, n: calls.redeem(user, user=user),
    lambda user, call, n: commands.DeleteCode(code=user) if n > 80 else calls.redeem(user, user=user),
    lambda user, call, n: calls.paid(f"T{user}", user=user, money=500 + n // 50),
    lambda user, call, n: calls.reverse(n + 1, f"T{user}", name=f"v{n}", user=user),
    lambda user, call, n: commands.LimitKey(key=user, delta=n),
    lambda user, call, n: commands.Open(user=user, amount=n, source="s", row=f"{user}-{n}", digest="d"),
]


def hold(user: int, number: int, mills: int) -> Command:
    return calls.hold(mills, calls.charge(100 * user + number), user=user)


def cut_off_from_the_world(patch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise AssertionError("decide reached out of its arguments")

    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep"):
        patch.setattr(time, name, refused)
    for module, name in ((random, "random"), (random, "randrange"), (secrets, "token_hex"), (secrets, "token_bytes")):
        patch.setattr(module, name, refused)
    patch.setattr(socket, "socket", refused)
    patch.setattr(builtins, "open", refused)
