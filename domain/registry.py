"""Users, keys and channels: registered under the next public id, changed by facts on their own streams.

A username belongs to one user at a time; a limited key's allowance moves like money, in an asset of its own.
"""

from collections.abc import Sequence

import msgspec

from domain import accounts, commands, streams
from domain.accounts import MAX_ACCOUNT_MILLS, Posting
from domain.books import Books, Result, alive
from domain.corrections import given
from domain.events import (
    ChannelDeleted,
    Fact,
    KeyCreated,
    KeyDeleted,
    KeyLimitChanged,
    Registered,
    UserDeleted,
    UsernameClaimed,
    UsernameReleased,
)
from domain.units import MILLS_PER_QUOTA

APPENDED = frozenset({"user", "key", "channel", "username", "setting"})
ENDINGS = (UserDeleted, KeyDeleted, ChannelDeleted)


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
    fact = msgspec.structs.replace(command.created, at=books.now, id=assigned, postings=counting)
    books.record(stream, fact)
    if token:
        books.record(token, Registered(at=books.now, kind=command.kind, id=assigned))
    if command.claim:
        books.record(command.claim, UsernameClaimed(at=books.now, user=assigned))
    if command.grant:
        opening = given(assigned, command.grant, command.grant_why, 0, books.now)
        books.record(streams.grant(assigned, command.grant_why), opening)
    return Result("created", fact, id=assigned)


def limit_key(command: commands.LimitKey, books: Books) -> Result:
    stream = streams.key(command.key)
    past = books.history(stream)
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
        actor=command.actor,
        postings=moved,
    )
    books.record(stream, fact)
    return Result("created", fact)


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
            assert _kind(fact) in APPENDED, f"a {fact.TOPIC} has a command of its own"
            assert not fact.postings, "quota moves only through its own commands"
            assert not fact.floors, "floors move only through their own commands"
            last = msgspec.structs.replace(fact, at=books.now)
            books.record(part.stream, last)
    return Result("created", last)


def _kind(fact: Fact) -> str:
    return fact.TOPIC.partition(".")[0]


def _may_register(command: commands.Register, books: Books) -> Result | None:
    if command.kind not in commands.Register.KINDS:
        return Result("invalid", why=f"nothing of kind {command.kind!r} is registered")
    if command.claim and _claimed_by(books.history(command.claim)):
        return Result("taken", books.history(command.claim)[-1], why="that username is taken")
    if isinstance(command.created, KeyCreated):
        if not alive(books, streams.user(command.created.user), UserDeleted):
            return Result("not_found", why=f"there is no user {command.created.user}")
        if command.created.unlimited != (command.limit is None):
            return Result("invalid", why="a key is unlimited or has a limit")
    for amount in (command.limit or 0, command.grant):
        if not 0 <= amount <= MAX_ACCOUNT_MILLS:
            return Result("too_large", why="an account holds between 0 and 9e15 quota", needed=amount)
    return None


def _claimed_by(past: Sequence[Fact]) -> int:
    """The user who has a username now; 0 when it is free."""
    return past[-1].user if past and isinstance(past[-1], UsernameClaimed) else 0


def _is_unlimited(past: Sequence[Fact]) -> bool:
    unlimited = True
    for fact in past:
        if isinstance(fact, KeyCreated | KeyLimitChanged):
            unlimited = fact.unlimited
    return unlimited
