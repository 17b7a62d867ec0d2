"""What is registered and what is appended: ids, names, and the facts that have commands of their own."""

from __future__ import annotations

import msgspec
import pytest

from domain import commands, events, streams
from domain.commands import Append, Part
from domain.events import ChannelTerms, CodeTerms, Fact, KeyTerms
from domain.ledger import decide
from tests.laws import calls
from tests.laws.asking import MOST, NOW, ask, available, balance, deletion, key_deletion, statuses, written
from tests.laws.memory import Memory

NAME = streams.username("ada")


@pytest.fixture
def memory() -> Memory:
    """A user, a key, a channel and a code, each the first of its kind."""
    empty = Memory()
    named = msgspec.structs.replace(calls.customer(), claim=NAME)
    channel = commands.Register(kind="channel", created=events.ChannelCreated(terms=ChannelTerms(), secret="s"))
    ask(empty, named, calls.key_of(1), channel, calls.code(5))
    return empty


def append(stream: str, fact: Fact, *, expected: int | None = None) -> Append:
    return Append(parts=(Part(stream, expected, (fact,)),))


OF_THEIR_OWN: list[tuple[str, Fact]] = [
    (streams.user(1), events.UserCreated(profile="p", password="h", claim="c")),
    (streams.user(1), events.UserCreditLimitChanged(id=1, limit=5)),
    (streams.user(1), events.UserFrozen(id=1)),
    (streams.user(1), events.UserUnfrozen(id=1)),
    (streams.key(1), events.KeyCreated(user=1, digest="d", secret="s", terms=KeyTerms())),
    (streams.key(1), events.KeyLimitChanged(id=1, unlimited=False, delta=0)),
    (streams.channel(1), events.ChannelCreated(terms=ChannelTerms(), secret="s")),
    (streams.code(1), events.CodeIssued(digest="d", secret="s", terms=CodeTerms(amount=5))),
    (streams.code(1), events.CodeChanged(id=1, terms=CodeTerms(amount=7))),
    (streams.code(1), events.CodeDeleted(id=1)),
    (streams.code(1), events.CodeRedeemed(code=1, user=1, amount=5)),
    (streams.setting("s"), events.CodeTextClaimed(code=1)),
    (streams.setting("s"), events.QuotaGranted(user=1, amount=5, why="gift")),
    (streams.setting("s"), events.Registered(kind="user", id=1)),
]


@pytest.mark.parametrize(("stream", "fact"), OF_THEIR_OWN, ids=lambda value: getattr(value, "TOPIC", ""))
def test_facts_that_have_commands_of_their_own_are_not_appended(memory: Memory, stream: str, fact: Fact) -> None:
    with pytest.raises(AssertionError, match="command of its own"):
        decide([append(stream, fact)], memory.balances, memory.streams, NOW)


PLAIN: list[tuple[str, Fact]] = [
    (streams.user(1), events.UserPasswordChanged(id=1, password="h2")),
    (streams.key(1), events.KeyStatusChanged(id=1, status=2)),
    (streams.channel(1), events.ChannelStatusChanged(id=1, status=2)),
    (streams.code(1), events.CodeStatusChanged(id=1, status=2)),
    (streams.username("eve"), events.UsernameClaimed(user=1)),
    (streams.invite_code("abcd"), events.InviteCodeClaimed(user=1)),
    (streams.setting("s"), events.SettingChanged(key="s", value="1")),
]


@pytest.mark.parametrize(("stream", "fact"), PLAIN, ids=lambda value: getattr(value, "TOPIC", ""))
def test_facts_that_move_nothing_are_appended_at_the_version_that_was_read(
    memory: Memory, stream: str, fact: Fact
) -> None:
    version = len(memory.streams.get(stream, []))

    given = statuses(memory, *(append(stream, fact, expected=number) for number in (version + 1, version, version)))

    assert given == ["conflict", "created", "conflict"]


@pytest.mark.parametrize(
    ("stream", "end"),
    [
        (streams.user(1), events.UserDeleted(id=1)),
        (streams.key(1), events.KeyDeleted(id=1)),
        (streams.channel(1), events.ChannelDeleted(id=1)),
    ],
    ids=lambda value: getattr(value, "TOPIC", ""),
)
def test_what_was_deleted_is_found_no_more(memory: Memory, stream: str, end: Fact) -> None:
    ask(memory, *(append(fact_of, fact) for fact_of, fact in PLAIN), append(stream, end))

    result = ask(memory, append(stream, end))

    assert (result.status, type(result.fact)) == ("not_found", type(end))


def test_an_append_is_all_or_nothing(memory: Memory) -> None:
    fine = Part(streams.setting("s"), None, (events.SettingChanged(key="s", value="1"),))
    late = Part(streams.user(1), 7, (events.UserPasswordChanged(id=1, password="h2"),))

    result = ask(memory, Append(parts=(fine, late)))

    assert result.status == "conflict"
    assert written(memory, events.SettingChanged) == []


def test_an_append_is_answered_with_its_last_fact(memory: Memory) -> None:
    facts = (events.SettingChanged(key="s", value="1"), events.SettingChanged(key="s", value="2"))

    result = ask(memory, Append(parts=(Part(streams.setting("s"), 0, facts),)))

    assert isinstance(result.fact, events.SettingChanged)
    assert result.fact.value == "2"


def test_a_name_that_is_taken_says_by_which_fact(memory: Memory) -> None:
    registered = ask(memory, msgspec.structs.replace(calls.customer("eve"), claim=NAME))
    renamed = ask(memory, Append(parts=(Part(NAME, None, (events.UsernameClaimed(user=2),)),), claim=NAME, user=2))
    text = ask(memory, calls.code(5))

    assert [result.status for result in (registered, renamed, text)] == ["taken"] * 3
    topics = [result.fact.TOPIC for result in (registered, renamed, text) if result.fact]
    assert topics == ["username.claimed/1", "username.claimed/1", "code_text.claimed/1"]


def test_a_profile_is_not_saved_under_a_name_that_somebody_else_has_by_now(memory: Memory) -> None:
    ask(memory, calls.customer("bob"))
    profile = Part(streams.user(2), None, (events.UserProfileChanged(id=2, profile="p2", claim="ada"),))
    changed = Append(parts=(profile,), claim=NAME, user=2)

    taken = ask(memory, changed)
    ask(memory, append(NAME, events.UsernameReleased(user=1)))

    assert (taken.status, ask(memory, changed).status) == ("taken", "created")


def test_a_name_that_changed_hands_says_whose_it_is(memory: Memory) -> None:
    released, claimed = events.UsernameReleased(user=1), events.UsernameClaimed(user=7)
    ask(memory, append(NAME, released), append(NAME, claimed))

    registered = ask(memory, msgspec.structs.replace(calls.customer("eve"), claim=NAME))
    renamed = ask(memory, Append(parts=(Part(NAME, None, (claimed,)),), claim=NAME, user=2))

    owners = [result.fact.user for result in (registered, renamed) if isinstance(result.fact, events.UsernameClaimed)]
    assert owners == [7, 7]


def test_a_name_and_a_codes_text_are_refused_in_words_of_their_own(memory: Memory) -> None:
    name, text = ask(memory, msgspec.structs.replace(calls.customer("eve"), claim=NAME)), ask(memory, calls.code(5))

    assert ("username" in name.why, "code" in text.why) == (True, True)


def test_a_name_that_was_given_up_is_free(memory: Memory) -> None:
    ask(memory, append(NAME, events.UsernameReleased(user=1)))

    assert ask(memory, msgspec.structs.replace(calls.customer("eve"), claim=NAME)).status == "created"


def test_somebody_elses_name_is_not_given_up(memory: Memory) -> None:
    assert ask(memory, append(NAME, events.UsernameReleased(user=2))).status == "conflict"


@pytest.mark.parametrize(
    ("field", "status"),
    [("grant", "invalid"), ("limit", "invalid"), ("invited_bonus", "created"), ("inviter_bonus", "created")],
)
@pytest.mark.parametrize("kind", ["channel", "code"])
def test_only_users_are_given_quota_and_only_keys_a_limit(memory: Memory, kind: str, field: str, status: str) -> None:
    channel = commands.Register(kind="channel", created=events.ChannelCreated(terms=ChannelTerms(), secret="s"))
    made = channel if kind == "channel" else calls.code(5, text="other")

    result = ask(memory, msgspec.structs.replace(made, **{field: 5}))

    assert (result.status, bool(result.why)) == (status, status == "invalid")
    assert (available(memory, 2), balance(memory, "key:2:cap")) == (0, 0)


def test_a_key_is_given_no_quota_and_a_user_no_limit(memory: Memory) -> None:
    key = msgspec.structs.replace(calls.key_of(1, limit=5), grant=5)
    user = msgspec.structs.replace(calls.customer("eve"), limit=5)

    assert statuses(memory, key, user) == ["invalid", "invalid"]


def test_a_key_is_unlimited_or_has_a_limit(memory: Memory) -> None:
    without, with_both = calls.key_of(1, limit=5), calls.key_of(1)

    assert statuses(
        memory, msgspec.structs.replace(without, limit=None), msgspec.structs.replace(with_both, limit=5)
    ) == ["invalid", "invalid"]


def test_each_kind_counts_its_own_ids_from_one(memory: Memory) -> None:
    results = [ask(memory, made) for made in (calls.customer("eve"), calls.key_of(1), calls.code(5, text="other"))]

    assert [result.id for result in results] == [2, 2, 2]
    assert {name: balance(memory, f"seq:{name}") for name in ("user", "key", "channel", "code")} == {
        "user": 2, "key": 2, "channel": 1, "code": 2,
    }  # fmt: skip


def test_an_invited_user_and_the_inviter_get_their_bonuses(memory: Memory) -> None:
    made = events.UserCreated(profile="p", password="h", claim="eve", inviter=1)

    ask(memory, commands.Register(kind="user", created=made, grant=10, invited_bonus=20, inviter_bonus=30))

    assert (available(memory, 2), balance(memory, "user:1:invite"), available(memory, 1)) == (30, 30, 0)
    assert sorted(fact.why for fact in written(memory, events.QuotaGranted) if isinstance(fact, events.QuotaGranted)) == [
        "invited", "signup",
    ]  # fmt: skip


def test_a_bonus_of_nothing_is_none(memory: Memory) -> None:
    made = events.UserCreated(profile="p", password="h", claim="eve", inviter=1)

    ask(memory, commands.Register(kind="user", created=made))

    assert written(memory, events.InviteRewarded) == []
    assert written(memory, events.QuotaGranted) == []


@pytest.mark.parametrize("inviter", [1, 9])
def test_a_user_invited_by_somebody_who_is_gone_was_invited_by_nobody(memory: Memory, inviter: int) -> None:
    ask(memory, deletion(1))
    made = events.UserCreated(profile="p", password="h", claim="eve", inviter=inviter, role=10)

    result = ask(memory, commands.Register(kind="user", created=made, invited_bonus=20, inviter_bonus=30))

    assert isinstance(result.fact, events.UserCreated)
    assert (result.fact.inviter, result.fact.role) == (0, 10)
    assert (available(memory, 2), balance(memory, "user:1:invite")) == (0, 0)


def test_a_limit_is_set_moved_and_taken_away(memory: Memory) -> None:
    key = commands.LimitKey(key=1)
    steps = [
        msgspec.structs.replace(key, target=5_000), msgspec.structs.replace(key, delta=700),
        msgspec.structs.replace(key, target=5_999), msgspec.structs.replace(key, delta=-5_700),
        msgspec.structs.replace(key, delta=-1), msgspec.structs.replace(key, unlimited=True),
    ]  # fmt: skip

    given = [(ask(memory, step).status, balance(memory, "key:1:cap")) for step in steps]

    assert given == [
        ("created", 5_000), ("created", 5_700), ("unchanged", 5_700), ("created", 0), ("invalid", 0), ("created", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("delta", [-301, MOST - 299])
def test_a_limit_that_cannot_be_says_what_is_left(memory: Memory, delta: int) -> None:
    ask(memory, commands.LimitKey(key=1, target=300))

    refused = ask(memory, commands.LimitKey(key=1, delta=delta))

    assert (refused.status, refused.available) == ("invalid", 300)


def test_a_key_that_was_registered_with_a_limit_of_nothing_has_one(memory: Memory) -> None:
    ask(memory, calls.key_of(1, limit=0))

    limits = commands.LimitKey(key=2, target=0), commands.LimitKey(key=2, unlimited=True)

    assert statuses(memory, *limits) == ["unchanged", "created"]


def test_a_key_that_is_gone_gets_no_limit(memory: Memory) -> None:
    ask(memory, key_deletion(1))

    assert statuses(memory, commands.LimitKey(key=1, target=5), commands.LimitKey(key=9, target=5)) == ["not_found"] * 2


def test_a_limit_that_shows_already_is_not_shown_by_a_key_without_one(memory: Memory) -> None:
    assert statuses(memory, commands.LimitKey(key=1, target=0), commands.LimitKey(key=1, target=999)) == [
        "created", "unchanged",
    ]  # fmt: skip


def test_an_unlimited_key_that_is_to_have_none_says_what_is_left(memory: Memory) -> None:
    ask(memory, commands.LimitKey(key=1, target=5_000))

    result = ask(memory, commands.LimitKey(key=1, target=5_001))

    assert (result.status, result.available) == ("unchanged", 5_000)
