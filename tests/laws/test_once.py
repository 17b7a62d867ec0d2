"""What is sent again takes effect once: the same command finds itself, another one under its name is told so."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from domain import api_key, commands, events, streams, user
from domain.books import Guard, Result
from domain.commands import Append, Command, Part, VaultPut
from domain.events import Fact, KeyTerms
from domain.ledger import decide
from tests.laws import calls
from tests.laws.memory import Memory

NOW = 1_800_000_000_000


@pytest.fixture
def memory() -> Memory:
    """Two users with 10,000 mills each; key 1 of the first may spend 4,000 of them."""
    empty = Memory()
    for name in ("ada", "bob"):
        ask(empty, registration(name, grant=10_000))
    terms = KeyTerms(name="main")
    ask(empty, api_key.creation(user=1, digest="d", secret=secret("k"), terms=terms, limit_mills=4_000))
    return empty


def grown(command: Command) -> Command:
    """Another command under the same name."""
    match command:
        case commands.Hold() | commands.Extend() | commands.Grant():
            return msgspec.structs.replace(command, amount=command.amount + 1)
        case commands.Settle():
            return msgspec.structs.replace(command, cost=command.cost + 1)
        case commands.Adjust(delta=None, target=int(target)):
            return msgspec.structs.replace(command, target=target + 1)
        case commands.Adjust(delta=int(delta)):
            return msgspec.structs.replace(command, delta=delta + 1)
    raise AssertionError(f"no other form of {command}")


NAMED: dict[str, Callable[[], list[Command]]] = {
    "hold": lambda: [calls.hold(500, capped=True)],
    "extend": lambda: [calls.hold(500, capped=True), calls.extend(1, 200, capped=True)],
    "settle": lambda: [calls.hold(500, capped=True), calls.settle(300, capped=True)],
    "settle above the hold": lambda: [calls.hold(500, capped=True), calls.settle(900, capped=True)],
    "settle late": lambda: [calls.hold(500, capped=True), calls.expire(capped=True), calls.settle(300, capped=True)],
    "grant": lambda: [commands.Grant(user=1, amount=7, why="gift")],
    "adjust by": lambda: [commands.Adjust(command_key="a", user=1, delta=-3)],
    "adjust to": lambda: [commands.Adjust(command_key="a", user=1, target=3)],
}
UNNAMED: dict[str, Callable[[], list[Command]]] = {
    "release": lambda: [calls.hold(500, capped=True), calls.release(capped=True)],
    "expire": lambda: [calls.hold(500, capped=True), calls.expire(capped=True)],
    "register with a token": lambda: [registration("eve", grant=5, token="t")],
}


@pytest.mark.parametrize("name", [*NAMED, *UNNAMED])
def test_the_same_command_again_exists_and_leaves_no_trace(memory: Memory, name: str) -> None:
    *first, last = {**NAMED, **UNNAMED}[name]()
    ask(memory, *first, last)
    before = dict(memory.balances), len(memory.log)

    again = [ask(memory, last), ask(memory, last, last)]

    assert [result.status for result in again] == ["exists", "exists"]
    assert (memory.balances, len(memory.log)) == before


@pytest.mark.parametrize("name", NAMED)
def test_another_command_under_the_same_name_is_told_so_and_leaves_no_trace(memory: Memory, name: str) -> None:
    *first, last = NAMED[name]()
    ask(memory, *first, last)
    before = dict(memory.balances), len(memory.log)

    result = ask(memory, grown(last))

    assert result.status == "exists_with_different"
    assert result.fact is not None
    assert (memory.balances, len(memory.log)) == before


def test_a_settlement_by_another_payer_is_not_the_one_that_was_made(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True), calls.settle(300, capped=True))

    result = ask(memory, msgspec.structs.replace(calls.settle(300, capped=True), user=2))

    assert result.status == "exists_with_different"


def test_only_the_payer_of_a_charge_extends_it(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True))

    result = ask(memory, msgspec.structs.replace(calls.extend(1, 200, capped=True), user=2))

    assert result.status == "invalid"
    assert balance(memory, "user:2:held") == 0


@pytest.mark.parametrize("n", [-1, 0, 2, 7])
def test_extensions_are_numbered_without_gaps_so_that_the_end_finds_them_all(memory: Memory, n: int) -> None:
    ask(memory, calls.hold(500, capped=True))

    result = ask(memory, calls.extend(n, 200, capped=True))

    assert not result.ok
    assert ask(memory, calls.settle(300, capped=True)).ok
    assert balance(memory, "user:1:held") == 0


def test_an_end_that_does_not_know_of_an_extension_is_stale_and_one_that_does_gives_all_back(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True), calls.extend(1, 200, capped=True), calls.extend(2, 100, capped=True))

    stale = [ask(memory, calls.settle(300, capped=True, extensions=n)).status for n in (0, 1, 3)]

    assert stale == ["stale"] * 3
    assert ask(memory, calls.settle(300, capped=True, extensions=2)).ok
    assert (balance(memory, "user:1:available"), balance(memory, "user:1:held")) == (9_700, 0)


def test_an_append_moves_no_quota_and_sets_no_floor_by_itself(memory: Memory) -> None:
    facts: list[Fact] = [
        events.UserStandingChanged(id=1, role=1, status=1, group="g", floors=(("user:1:available", -1_000),)),
        events.QuotaGranted(user=1, amount=5, why="gift", postings=(("user:1:available", 5), ("platform:promo", -5))),
    ]

    for fact in facts:
        with pytest.raises(AssertionError):
            decide([Append(parts=(Part(streams.user(1), None, (fact,)),))], memory.balances, memory.streams, NOW)


def test_an_append_ends_no_charge(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True))
    ended = events.ChargeReleased(user=1, key=1, capped=True, held=500, why="refused")

    with pytest.raises(AssertionError):
        ask(memory, Append(parts=(Part(calls.FIRST, None, (ended,)),)))

    assert ask(memory, calls.settle(300, capped=True)).status == "created"


@pytest.mark.parametrize("kind", ["user", "key", "channel"])
def test_nothing_is_appended_to_somebody_who_was_never_registered(memory: Memory, kind: str) -> None:
    fact: Fact = {
        "user": events.UserStandingChanged(id=3, role=1, status=1, group="default"),
        "key": events.KeyStatusChanged(id=3, status=2),
        "channel": events.ChannelStatusChanged(id=3, status=2),
    }[kind]

    result = ask(memory, Append(parts=(Part(streams.named(f"{kind}:3"), None, (fact,)),)))

    assert not result.ok
    assert ask(memory, registration("eve")).id == 3


def test_a_rename_by_somebody_who_looked_too_early_frees_nobody_elses_name(memory: Memory) -> None:
    ada = user.from_facts(memory.streams[streams.user(1)])
    assert ada is not None
    ask(memory, user.profile_change(ada, claim="eve", profile=secret("p1")))
    ask(memory, registration("ada"))

    ask(memory, user.profile_change(ada, claim="zoe", profile=secret("p2")))

    assert ask(memory, registration("ada")).status == "taken"


def test_two_renames_at_once_leave_a_user_with_one_name(memory: Memory) -> None:
    ada = user.from_facts(memory.streams[streams.user(1)])
    assert ada is not None

    ask(memory, *(user.profile_change(ada, claim=name, profile=secret(name)) for name in ("eve", "zoe")))

    free = [ask(memory, registration(name)).status for name in ("ada", "eve", "zoe")]
    assert sorted(free) == ["created", "created", "taken"]


def test_a_deletion_by_somebody_who_looked_too_early_frees_nobody_elses_name(memory: Memory) -> None:
    ada = user.from_facts(memory.streams[streams.user(1)])
    assert ada is not None
    ask(memory, user.profile_change(ada, claim="eve", profile=secret("p1")))
    ask(memory, registration("ada"))

    ask(memory, user.deletion(ada))

    assert ask(memory, registration("ada")).status == "taken"


def ask(memory: Memory, *batch: Command) -> Result:
    """The last answer."""
    return memory.commit(batch, NOW).results[-1]


def balance(memory: Memory, account: str) -> int:
    return memory.balances.get(account, Guard(0)).balance


def secret(ref: str) -> VaultPut:
    return VaultPut(ref, b"sealed")


def registration(name: str, *, grant: int = 0, token: str = "") -> commands.Register:
    return user.creation(claim=name, profile=secret("p"), password=secret("h"), grant_mills=grant, token=token)
