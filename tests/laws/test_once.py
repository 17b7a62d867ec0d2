"""What is sent again takes effect once: the same command finds itself, another one under its name is told so."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from domain import api_key, commands, events, streams, user
from domain.commands import Append, Command, Part, VaultPut
from domain.events import CodeTerms, Fact, KeyTerms
from domain.ledger import decide
from tests.laws import calls
from tests.laws.altering import altered
from tests.laws.asking import NOW, ask, balance
from tests.laws.memory import Memory


@pytest.fixture
def memory() -> Memory:
    """Two users with 10,000 mills each; key 1 of the first may spend 4,000 of them."""
    empty = Memory()
    for name in ("ada", "bob"):
        ask(empty, registration(name, grant=10_000))
    terms = KeyTerms(name="main")
    ask(empty, api_key.creation(user=1, digest="d", secret=secret("k"), terms=terms, limit_mills=4_000))
    return empty


ANOTHER_AMOUNT = 777


NAMED: dict[str, Callable[[], list[Command]]] = {
    "hold": lambda: [calls.hold(500, capped=True)],
    "extend": lambda: [calls.hold(500, capped=True), calls.extend(1, 200, capped=True)],
    "settle": lambda: [calls.hold(500, capped=True), calls.settle(300, capped=True)],
    "settle above the hold": lambda: [calls.hold(500, capped=True), calls.settle(900, capped=True)],
    "settle late": lambda: [calls.hold(500, capped=True), calls.expire(capped=True), calls.settle(300, capped=True)],
    "grant": lambda: [commands.Grant(user=1, amount=7, why="gift")],
    "adjust by": lambda: [commands.Adjust(command_key="a", user=1, delta=-3)],
    "adjust to": lambda: [commands.Adjust(command_key="a", user=1, target=3)],
    "adjust from what was seen": lambda: [commands.Adjust(command_key="a", user=1, target=3, seen=10)],
    "refund": lambda: [calls.hold(500), calls.settle(300), calls.refund(200)],
    "refund of all": lambda: [calls.hold(500), calls.settle(300), calls.refund()],
    "accept": lambda: [calls.hold(500, capped=True), calls.accept(300, capped=True)],
    "accept late": lambda: [calls.hold(500), calls.expire(), calls.accept(300)],
    "end of a task": lambda: [calls.hold(500), calls.accept(300), calls.end_task("failed")],
    "limit by": lambda: [commands.LimitKey(key=1, delta=5, command_key="l")],
    "limit to": lambda: [commands.LimitKey(key=1, target=5, command_key="l")],
    "opening": lambda: [commands.Open(user=1, amount=5, source="s", row="r", digest="d")],
    "transfer": lambda: [invited(), commands.TransferInvite(command_key="x", user=1, amount=5)],
    "order": lambda: [calls.order(500)],
    "payment": lambda: [calls.order(500), calls.paid()],
    "resolved payment": lambda: [calls.paid(user=0), calls.resolve(500)],
    "reversal": lambda: [calls.order(500), calls.paid(), calls.reverse(200)],
    "reversal of all": lambda: [calls.order(500), calls.paid(), calls.reverse()],
}
UNNAMED: dict[str, Callable[[], list[Command]]] = {
    "release": lambda: [calls.hold(500, capped=True), calls.release(capped=True)],
    "expire": lambda: [calls.hold(500, capped=True), calls.expire(capped=True)],
    "register with a token": lambda: [registration("eve", grant=5, token="t")],
    "check-in": lambda: [commands.CheckIn(user=1, day="2027-01-15", amount=5)],
    "code": lambda: [calls.code(500), calls.redeem()],
    "deletion of a code": lambda: [calls.code(500), commands.DeleteCode(code=1)],
    "failed payment": lambda: [calls.order(500), commands.FailTopUp(provider="pay", trade="T1", user=1)],
    "limit taken away": lambda: [commands.LimitKey(key=1, unlimited=True, command_key="l")],
}
SETTINGS: dict[str, Callable[[], Command]] = {
    "limit": lambda: commands.LimitKey(key=1, target=5_000),
    "credit limit": lambda: commands.SetCreditLimit(user=1, limit=5),
    "freeze": lambda: commands.Freeze(user=1),
    "terms of a code": lambda: commands.ChangeCode(code=1, terms=CodeTerms(amount=7)),
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

    result = ask(memory, altered(last, ANOTHER_AMOUNT))

    assert result.status == "exists_with_different"
    assert result.fact is not None
    assert (memory.balances, len(memory.log)) == before


@pytest.mark.parametrize("name", [*NAMED, *UNNAMED])
def test_every_step_of_a_story_is_found_again_later_whatever_came_after_it(memory: Memory, name: str) -> None:
    story = {**NAMED, **UNNAMED}[name]()
    first = [memory.commit([command], NOW + 1_000 * second).results[0] for second, command in enumerate(story)]
    made = [(command, result.fact) for command, result in zip(story, first, strict=True) if result.status == "created"]
    named = [(command, fact) for command, fact in made if not isinstance(command, commands.Register)]

    again = [memory.commit([command], NOW + 60_000).results[0] for command, _ in named]

    assert [result.status for result in again] == ["exists"] * len(named)
    assert [result.fact for result in again] == [fact for _, fact in named]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_holds_already_is_unchanged_and_leaves_no_trace(memory: Memory, name: str) -> None:
    ask(memory, calls.code(500), SETTINGS[name]())
    before = dict(memory.balances), len(memory.log)

    again = [ask(memory, SETTINGS[name]()) for _ in range(2)]

    assert [result.status for result in again] == ["unchanged", "unchanged"]
    assert (memory.balances, len(memory.log)) == before


def test_what_was_done_under_a_name_is_found_when_its_key_user_or_code_is_gone(memory: Memory) -> None:
    made: list[Command] = [
        calls.hold(500), calls.settle(300), calls.refund(100), commands.LimitKey(key=1, delta=5, command_key="l"),
        commands.Grant(user=1, amount=7, why="gift"), commands.Adjust(command_key="a", user=1, delta=-3),
        commands.Open(user=1, amount=5, source="s", row="r", digest="d"), calls.order(500), calls.paid(),
        commands.CheckIn(user=1, day="2027-01-15", amount=5), calls.code(50), calls.redeem(),
    ]  # fmt: skip
    ask(memory, *made, commands.DeleteCode(code=1))
    ask(memory, *(Append(parts=(part,)) for part in deletions()))

    again = [ask(memory, command).status for command in made if not isinstance(command, commands.Register)]

    assert set(again) == {"exists"}


def test_a_key_that_refunded_part_is_not_the_one_that_refunds_all(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.settle(300), calls.refund(100, name="a"))

    early = ask(memory, calls.refund(name="a"))
    ask(memory, calls.refund(name="b"))
    late = ask(memory, calls.refund(name="a"))

    assert (early.status, late.status) == ("exists_with_different", "exists")


def test_a_key_that_reversed_part_is_not_the_one_that_reverses_all(memory: Memory) -> None:
    ask(memory, calls.order(300), calls.paid(), calls.reverse(100, name="a"))

    early = ask(memory, calls.reverse(name="a"))
    ask(memory, calls.reverse(name="b"))
    late = ask(memory, calls.reverse(name="a"))

    assert (early.status, late.status) == ("exists_with_different", "exists")


def test_a_refund_for_another_payer_is_not_the_one_that_was_made(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.settle(300), calls.refund(100))

    assert ask(memory, calls.refund(100, user=2)).status == "invalid"
    assert ask(memory, calls.refund(100, key=2)).status == "invalid"
    assert ask(memory, calls.refund(100, capped=True)).status == "invalid"


def test_a_charge_that_was_settled_without_a_task_begins_none(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.settle(300))

    refused = ask(memory, calls.accept(300))

    assert (refused.status, bool(refused.why)) == ("already_settled", True)
    assert ask(memory, calls.end_task("failed")).status == "not_found"


def test_one_charge_pays_for_one_task(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.accept(300))

    assert ask(memory, calls.accept(300, number=2)).status == "already_settled"


@pytest.mark.parametrize(
    "field", ["charge", "user", "key", "capped", "kind", "channel", "upstream_task_id", "task_ttl_ms"]
)
def test_a_task_taken_on_in_any_other_way_is_another_one(memory: Memory, field: str) -> None:
    ask(memory, calls.hold(500), calls.accept(300))
    others = {"charge": calls.charge(9), "user": 2, "key": 2, "capped": True, "channel": 4, "task_ttl_ms": 5}

    other = msgspec.structs.replace(calls.accept(300), **{field: others.get(field, "other")})

    assert ask(memory, other).status == "exists_with_different"


def test_a_refund_by_hand_does_not_take_the_place_of_a_tasks_own(memory: Memory) -> None:
    ask(memory, calls.hold(500), calls.accept(300))

    by_hand = ask(memory, calls.refund(1, name=f"task:{calls.task(1)}"))

    assert by_hand.status == "invalid"
    assert ask(memory, calls.end_task("failed")).status == "created"
    assert balance(memory, "user:1:available") == 10_000


def test_a_limit_set_under_a_key_is_told_from_another_and_from_a_change_by_as_much(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, target=9_000, command_key="l"))

    other = ask(memory, commands.LimitKey(key=1, target=8_000, command_key="l"))
    by = ask(memory, commands.LimitKey(key=1, delta=5_000, command_key="l"))
    none = ask(memory, commands.LimitKey(key=1, unlimited=True, command_key="l"))

    assert {other.status, by.status, none.status} == {"exists_with_different"}
    assert balance(memory, "key:1:cap") == 9_000


def test_a_limit_taken_away_is_told_from_a_change_by_as_much(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, unlimited=True, command_key="l"), commands.LimitKey(key=1, command_key="m"))

    by_as_much = ask(memory, commands.LimitKey(key=1, delta=-4_000, command_key="l"))
    taken_away = ask(memory, commands.LimitKey(key=1, unlimited=True, command_key="m"))

    assert (by_as_much.status, taken_away.status) == ("exists_with_different", "exists_with_different")


def test_an_opening_of_the_same_row_with_another_digest_is_told_so(memory: Memory) -> None:
    opened = commands.Open(user=1, amount=5, source="s", row="r", digest="d")
    ask(memory, opened)

    result = ask(memory, msgspec.structs.replace(opened, digest="other"))

    assert result.status == "exists_with_different"


def test_a_settlement_by_another_payer_is_not_the_one_that_was_made(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True), calls.settle(300, capped=True))

    result = ask(memory, msgspec.structs.replace(calls.settle(300, capped=True), user=2))

    assert result.status == "exists_with_different"


def test_only_the_payer_of_a_charge_extends_it(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True))

    result = ask(memory, msgspec.structs.replace(calls.extend(1, 200, capped=True), user=2))

    assert result.status == "invalid"
    assert balance(memory, "user:2:held") == 0


@pytest.mark.parametrize(
    "end", [calls.release(extensions=-1), calls.expire(extensions=-1), calls.settle(1, extensions=-1)]
)
def test_no_end_knows_of_fewer_extensions_than_none(memory: Memory, end: commands.EndCharge) -> None:
    ask(memory, calls.hold(500), calls.extend(1, 200))

    assert ask(memory, end).status == "stale"
    assert balance(memory, "user:1:held") == 700


@pytest.mark.parametrize("n", [-1, 0, 2, 7])
def test_extensions_are_numbered_without_gaps_so_that_the_end_finds_them_all(memory: Memory, n: int) -> None:
    ask(memory, calls.hold(500, capped=True))

    result = ask(memory, calls.extend(n, 200, capped=True))

    assert (result.status, type(result.fact)) == ("stale", events.ChargeHeld)
    assert ask(memory, calls.settle(300, capped=True)).ok
    assert balance(memory, "user:1:held") == 0


def test_extensions_that_come_one_by_one_follow_each_other(memory: Memory) -> None:
    steps = [
        calls.hold(500),
        calls.extend(1, 10),
        calls.extend(2, 10),
        calls.extend(3, 10),
        calls.settle(20, extensions=3),
    ]

    assert [ask(memory, step).status for step in steps] == ["created"] * 5


def test_an_end_that_does_not_know_of_an_extension_is_stale_and_one_that_does_gives_all_back(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True), calls.extend(1, 200, capped=True), calls.extend(2, 100, capped=True))

    stale = [ask(memory, calls.settle(300, capped=True, extensions=n)) for n in (-1, 0, 1, 3)]

    assert [(result.status, type(result.fact)) for result in stale] == [("stale", events.ChargeHeld)] * 4
    assert ask(memory, calls.settle(300, capped=True, extensions=2)).ok
    assert (balance(memory, "user:1:available"), balance(memory, "user:1:held")) == (9_700, 0)


def test_an_extension_is_seen_by_an_end_in_its_own_batch_also_where_it_is_the_only_one(memory: Memory) -> None:
    ask(memory, calls.hold(500))

    assert ask(memory, calls.extend(1, 200), calls.settle(300)).status == "stale"
    assert balance(memory, "user:1:held") == 700


@pytest.mark.parametrize(
    "end", [calls.release(extensions=1), calls.expire(extensions=1), calls.settle(1, extensions=1)]
)
def test_no_end_knows_of_an_extension_that_was_never_made(memory: Memory, end: commands.EndCharge) -> None:
    ask(memory, calls.hold(500))

    assert ask(memory, end).status == "stale"
    assert balance(memory, "user:1:held") == 500


def test_an_append_moves_no_quota_and_sets_no_floor_by_itself(memory: Memory) -> None:
    facts: list[Fact] = [
        events.UserStandingChanged(id=1, role=1, status=1, group="g", floors=(("user:1:available", -1_000),)),
        events.UserStandingChanged(
            id=1, role=1, status=1, group="g", postings=(("user:1:held", 5), ("user:2:held", -5))
        ),
        events.QuotaGranted(user=1, amount=5, why="gift", postings=(("user:1:available", 5), ("platform:promo", -5))),
    ]

    for fact in facts:
        with pytest.raises(AssertionError, match="own"):
            decide([Append(parts=(Part(streams.user(1), None, (fact,)),))], memory.balances, memory.streams, NOW)


def test_an_append_ends_no_charge(memory: Memory) -> None:
    ask(memory, calls.hold(500, capped=True))
    ended = events.ChargeReleased(user=1, key=1, capped=True, held=500, why="refused")

    with pytest.raises(AssertionError, match="command of its own"):
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


def secret(ref: str) -> VaultPut:
    return VaultPut(ref, b"sealed")


def registration(name: str, *, grant: int = 0, token: str = "") -> commands.Register:
    return user.creation(claim=name, profile=secret("p"), password=secret("h"), grant_mills=grant, token=token)


def invited() -> commands.Register:
    """Somebody whom user 1 brought, for a bonus of 50 mills."""
    return user.creation(claim="eve", profile=secret("p"), password=secret("h"), inviter=1, inviter_bonus_mills=50)


def deletions() -> list[Part]:
    return [
        Part(streams.user(1), None, (events.UserDeleted(id=1),)),
        Part(streams.key(1), None, (events.KeyDeleted(id=1),)),
    ]
