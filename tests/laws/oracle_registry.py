"""The oracle's rules of users, keys, channels and codes: ids in order, names taken once, limits that move like money."""

from __future__ import annotations

from domain import commands, events, streams
from domain.events import CodeIssued, Fact, KeyCreated, UserCreated, UsernameClaimed, UsernameReleased
from tests.laws import oracle_codes, oracle_quota
from tests.laws.oracle_state import LIMIT, Answer, State

FIRST_FACTS: dict[str, type[Fact]] = {
    "user": UserCreated,
    "key": KeyCreated,
    "channel": events.ChannelCreated,
    "code": CodeIssued,
}
ENDS = {"user.deleted", "key.deleted", "channel.deleted"}


def register(state: State, command: commands.Register, now: int) -> Answer:
    if command.token and (command.kind, command.token) in state.tokens:
        return Answer("exists", id=state.tokens[command.kind, command.token])
    if type(command.created) is not FIRST_FACTS.get(command.kind):
        return Answer("invalid")
    if command.claim and (state.names.get(command.claim) or command.claim in state.texts):
        return Answer("taken")
    inviter = _inviter(state, command)
    refused = _misfit(state, command) or _absurd(state, command, inviter)
    return refused or Answer("created", id=_register(state, command, inviter))


def limit_key(state: State, command: commands.LimitKey, now: int) -> Answer:
    there = state.limits.get((command.key, command.command_key)) if command.command_key else None
    if there is not None:
        return Answer("exists" if _asks_the_same(there, command) else "exists_with_different")
    if not state.is_alive("key", command.key):
        return Answer("not_found")
    account = f"key:{command.key}:cap"
    left, was_limited = state.balances[account], state.limited[command.key]
    if command.unlimited:
        wanted = 0
    elif command.target is None:
        wanted = left + command.delta
    else:
        wanted = left if was_limited and left // 1000 == command.target // 1000 else command.target
    if wanted == left and was_limited is not command.unlimited:
        return Answer("unchanged", available=left)
    if wanted < 0 or wanted + state.balances[f"key:{command.key}:cap_held"] > LIMIT:
        return Answer("invalid")
    state.move("platform:cap_grant", account, wanted - left)
    state.limited[command.key] = not command.unlimited
    state.limits[command.key, command.command_key] = command
    state.noted("key", command.key)
    return Answer("created")


def append(state: State, command: commands.Append, now: int) -> Answer:
    if command.claim and state.names.get(command.claim, 0) not in {0, command.user}:
        return Answer("taken")
    for part in command.parts:
        names_somebody = any(fact.TOPIC.split(".")[0] in FIRST_FACTS for fact in part.facts)
        if part.stream in state.gone or (names_somebody and not state.versions[part.stream]):
            return Answer("not_found")
        freed = [fact for fact in part.facts if fact.TOPIC.startswith("username.released")]
        if any(state.names.get(part.stream, 0) != _owner(fact) for fact in freed):
            return Answer("conflict")
        if part.expected is not None and part.expected != state.versions[part.stream]:
            return Answer("conflict")
    for part in command.parts:
        for fact in part.facts:
            _note(state, part.stream, fact)
    return Answer("created")


def _inviter(state: State, command: commands.Register) -> int:
    """Who invited a new user: nobody, where that user is gone."""
    named = command.created.inviter if isinstance(command.created, UserCreated) else 0
    return named if state.is_alive("user", named) else 0


def _misfit(state: State, command: commands.Register) -> Answer | None:
    created = command.created
    if command.kind != "user" and command.grant:
        return Answer("invalid")
    if isinstance(created, KeyCreated) and not state.is_alive("user", created.user):
        return Answer("not_found")
    if isinstance(created, KeyCreated) and created.unlimited == (command.limit is not None):
        return Answer("invalid")
    if command.kind != "key" and command.limit is not None:
        return Answer("invalid")
    return oracle_codes.may_be_issued(created) if isinstance(created, CodeIssued) else None


def _absurd(state: State, command: commands.Register, inviter: int) -> Answer | None:
    bonus = command.invited_bonus if inviter else 0
    amounts = (command.limit or 0, command.grant, command.invited_bonus, command.inviter_bonus, command.grant + bonus)
    if any(amount < 0 or amount > LIMIT for amount in amounts):
        return Answer("too_large")
    return oracle_quota.full_wallet(state, inviter, command.inviter_bonus) if inviter else None


def _register(state: State, command: commands.Register, inviter: int) -> int:
    state.move("platform:sequence", f"seq:{command.kind}", 1)
    number = state.balances[f"seq:{command.kind}"]
    state.noted(command.kind, number)
    if command.limit is not None:
        state.move("platform:cap_grant", f"key:{number}:cap", command.limit)
    if command.kind == "key":
        state.limited[number] = command.limit is not None
    if isinstance(command.created, CodeIssued):
        oracle_codes.issue(state, number, command.created)
    if command.token:
        state.tokens[command.kind, command.token] = number
    if command.claim and command.kind == "code":
        state.texts.add(command.claim)
    elif command.claim:
        state.names[command.claim] = number
        state.versions[command.claim] += 1
    if command.grant:
        oracle_quota.give(state, number, command.grant, command.grant_why, 0)
    if inviter and command.invited_bonus:
        oracle_quota.give(state, number, command.invited_bonus, "invited", 0)
    if inviter:
        state.move("platform:promo", f"user:{inviter}:invite", command.inviter_bonus)
    return number


def _asks_the_same(there: commands.LimitKey, command: commands.LimitKey) -> bool:
    if there.unlimited or command.unlimited:
        return there.unlimited and command.unlimited
    if there.target is not None or command.target is not None:
        return there.target == command.target
    return there.delta == command.delta


def _note(state: State, stream: str, fact: Fact) -> None:
    state.versions[stream] += 1
    if fact.TOPIC.split("/")[0] in ENDS:
        state.gone.add(stream)
    if isinstance(fact, events.CodeStatusChanged):
        (code,) = (code for number, code in state.codes.items() if streams.code(number) == stream)
        code.enabled = fact.status == 1
    if fact.TOPIC.startswith("username.claimed"):
        state.names[stream] = _owner(fact)
    if fact.TOPIC.startswith("username.released"):
        state.names[stream] = 0


def _owner(fact: Fact) -> int:
    assert isinstance(fact, UsernameClaimed | UsernameReleased), f"a {fact.TOPIC} names no owner"
    return fact.user
