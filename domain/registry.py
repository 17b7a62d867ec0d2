"""Users, keys, channels and codes: registered under the next public id, changed by facts on their own streams.

A username belongs to one user at a time; a limited key's allowance moves like money, in an asset of its own.
"""

from collections.abc import Sequence

import msgspec

from domain import accounts, commands, gift_code, gifts, streams
from domain.accounts import MAX_ACCOUNT_MILLS, Posting
from domain.books import Books, Result, alive
from domain.corrections import given
from domain.events import (
    ChannelCreated,
    ChannelDeleted,
    CodeChanged,
    CodeDeleted,
    CodeIssued,
    CodeRedeemed,
    CodeTextClaimed,
    Fact,
    KeyCreated,
    KeyDeleted,
    KeyLimitChanged,
    Registered,
    UserCreated,
    UserCreditLimitChanged,
    UserDeleted,
    UserFrozen,
    UsernameClaimed,
    UsernameReleased,
    UserUnfrozen,
)
from domain.units import MILLS_PER_QUOTA

APPENDED = frozenset({"user", "key", "channel", "code", "username", "invite_code", "setting"})
NOT_APPENDED = (
    UserCreated,
    UserCreditLimitChanged,
    UserFrozen,
    UserUnfrozen,
    KeyCreated,
    KeyLimitChanged,
    ChannelCreated,
    CodeIssued,
    CodeChanged,
    CodeDeleted,
    CodeRedeemed,
)
"""Facts of those streams that move or bound quota, or make an id: they have commands of their own."""
CREATIONS: dict[str, type[Fact]] = {
    "user": UserCreated,
    "key": KeyCreated,
    "channel": ChannelCreated,
    "code": CodeIssued,
}
ENDINGS = (UserDeleted, KeyDeleted, ChannelDeleted, CodeDeleted)


def register(command: commands.Register, books: Books) -> Result:
    token = streams.named(f"register:{command.kind}:{command.token}") if command.token else ""
    if token and books.history(token):
        first = books.history(token)[0]
        assert isinstance(first, Registered), "a registration's stream holds the id it gave"
        return Result("exists", first, id=first.id)
    refused = _may_register(command, books)
    if refused is not None:
        return refused
    counter = accounts.sequence(command.kind)
    assigned = books.guard(counter).balance + 1
    stream = streams.named(f"{command.kind}:{assigned}")
    counting: tuple[Posting, ...] = ((counter, 1), (accounts.SEQUENCE, -1))
    if command.limit is not None:
        counting = (*counting, (accounts.cap(assigned), command.limit), (accounts.CAP_GRANT, -command.limit))
    floors: tuple[tuple[str, int | None], ...] = ()
    if isinstance(command.created, CodeIssued):
        funded, floors = gift_code.funding(command.created, assigned)
        counting = (*counting, *funded)
    inviter = _living_inviter(command, books)
    fact = msgspec.structs.replace(command.created, at=books.now, id=assigned, postings=counting, floors=floors)
    if isinstance(fact, UserCreated):
        fact = msgspec.structs.replace(fact, inviter=inviter)
    books.record(stream, fact)
    if token:
        books.record(token, Registered(at=books.now, kind=command.kind, id=assigned))
    if command.claim:
        named = CodeTextClaimed(at=books.now, code=assigned) if command.kind == "code" else None
        books.record(command.claim, named or UsernameClaimed(at=books.now, user=assigned))
    _give(command, assigned, inviter, books)
    return Result("created", fact, id=assigned)


def _give(command: commands.Register, assigned: int, inviter: int, books: Books) -> None:
    for amount, why in ((command.grant, command.grant_why), (command.invited_bonus if inviter else 0, "invited")):
        if amount:
            books.record(streams.grant(assigned, why), given(assigned, amount, why, 0, books.now))
    if inviter and command.inviter_bonus:
        gifts.reward_inviter(inviter, assigned, command.inviter_bonus, books)


def _living_inviter(command: commands.Register, books: Books) -> int:
    """Who invited the user; 0 for nobody, or somebody who is gone."""
    inviter = command.inviter
    return inviter if inviter and alive(books, streams.user(inviter), UserDeleted) else 0


def limit_key(command: commands.LimitKey, books: Books) -> Result:
    stream = streams.key(command.key)
    past = books.history(stream)
    for fact in past if command.command_key else ():
        if isinstance(fact, KeyLimitChanged) and fact.command_key == command.command_key:
            return Result("exists" if _is_that_limit(command, fact) else "exists_with_different", fact)
    if not alive(books, stream, KeyDeleted):
        return Result("not_found", why=f"there is no key {command.key}")
    left = books.guard(accounts.cap(command.key)).balance
    was_unlimited = _is_unlimited(past)
    if command.unlimited:
        delta = -left
    elif command.target is not None:
        shown = not was_unlimited and left // MILLS_PER_QUOTA == command.target // MILLS_PER_QUOTA
        delta = 0 if shown else command.target - left
    else:
        delta = command.delta
    if delta == 0 and was_unlimited == command.unlimited:
        return Result("unchanged", available=left)
    held = books.guard(accounts.cap_held(command.key)).balance
    if left + delta < 0 or left + delta + held > MAX_ACCOUNT_MILLS:
        return Result("invalid", why="a key's remaining limit lies between 0 and 9e15 quota", available=left)
    moved: tuple[Posting, ...] = ((accounts.cap(command.key), delta), (accounts.CAP_GRANT, -delta)) if delta else ()
    fact = KeyLimitChanged(
        at=books.now,
        id=command.key,
        unlimited=command.unlimited,
        delta=delta,
        target=None if command.unlimited else command.target,
        command_key=command.command_key,
        actor=command.actor,
        postings=moved,
    )
    books.record(stream, fact)
    return Result("created", fact)


def _is_that_limit(command: commands.LimitKey, fact: KeyLimitChanged) -> bool:
    """Whether a change that was made is the one asked for: what came of a target depends on what was there, a delta does not."""
    if command.unlimited or fact.unlimited:
        return command.unlimited == fact.unlimited
    return command.target == fact.target and (command.target is not None or command.delta == fact.delta)


def append(command: commands.Append, books: Books) -> Result:
    if command.claim and _claimed_by(books.history(command.claim)) not in (0, command.user):
        return Result("taken", books.history(command.claim)[-1], why="that username belongs to another user")
    for part in command.parts:
        past = books.history(part.stream)
        if past and isinstance(past[-1], ENDINGS):
            return Result("not_found", past[-1], why="it was deleted")
        if not past and any(_kind(fact) in commands.Register.KINDS for fact in part.facts):
            return Result("not_found", why="it was never registered")
        if any(isinstance(fact, UsernameReleased) and fact.user != _claimed_by(past) for fact in part.facts):
            return Result("conflict", why="somebody was faster: that username has another owner by now")
        if part.expected is not None and len(past) != part.expected:
            return Result("conflict", why=f"somebody was faster: the stream is at {len(past)}, not {part.expected}")
    last: Fact | None = None
    for part in command.parts:
        for fact in part.facts:
            may_be = _kind(fact) in APPENDED and not isinstance(fact, NOT_APPENDED)
            assert may_be, f"a {fact.TOPIC} has a command of its own"
            assert not fact.postings, "quota moves only through its own commands"
            assert not fact.floors, "floors move only through their own commands"
            last = msgspec.structs.replace(fact, at=books.now)
            books.record(part.stream, last)
    return Result("created", last)


def _kind(fact: Fact) -> str:
    return fact.TOPIC.partition(".")[0]


def _may_register(command: commands.Register, books: Books) -> Result | None:
    if CREATIONS.get(command.kind) is not type(command.created):
        return Result("invalid", why=f"nothing of kind {command.kind!r} is registered by a {command.created.TOPIC}")
    if command.claim and _is_taken(books.history(command.claim)):
        what = "a code with that text was issued before" if command.kind == "code" else "that username is taken"
        return Result("taken", books.history(command.claim)[-1], why=what)
    refused = _may_be_created(command, books)
    if refused is not None:
        return refused
    inviter = _living_inviter(command, books)
    first = command.grant + (command.invited_bonus if inviter else 0)
    for amount in (command.limit or 0, command.grant, command.invited_bonus, command.inviter_bonus, first):
        if not 0 <= amount <= MAX_ACCOUNT_MILLS:
            return Result("too_large", why="an account holds between 0 and 9e15 quota", needed=amount)
    return gifts.bonus_refused(inviter, command.inviter_bonus, books) if inviter else None


def _may_be_created(command: commands.Register, books: Books) -> Result | None:
    created = command.created
    if command.grant and not isinstance(created, UserCreated):
        return Result("invalid", why="only a user is given quota")
    if isinstance(created, KeyCreated):
        if not alive(books, streams.user(created.user), UserDeleted):
            return Result("not_found", why=f"there is no user {created.user}")
        if created.unlimited != (command.limit is None):
            return Result("invalid", why="a key is unlimited or has a limit")
    elif command.limit is not None:
        return Result("invalid", why="only a key has a limit")
    return gift_code.issue_refused(created) if isinstance(created, CodeIssued) else None


def _is_taken(past: Sequence[Fact]) -> bool:
    return bool(_claimed_by(past)) or bool(past and isinstance(past[-1], CodeTextClaimed))


def _claimed_by(past: Sequence[Fact]) -> int:
    """The user who has a username now; 0 when it is free."""
    return past[-1].user if past and isinstance(past[-1], UsernameClaimed) else 0


def _is_unlimited(past: Sequence[Fact]) -> bool:
    unlimited = True
    for fact in past:
        if isinstance(fact, KeyCreated | KeyLimitChanged):
            unlimited = fact.unlimited
    return unlimited
