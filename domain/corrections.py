"""Quota that the platform gives or takes: grants, and an admin's corrections with their reason.

Each has a stream of its own, named for what makes it happen once.
"""

import msgspec

from domain import accounts, commands, streams
from domain.accounts import MAX_ACCOUNT_MILLS
from domain.books import Books, Result, alive, same, too_large
from domain.events import Fact, QuotaAdjusted, QuotaGranted, UserDeleted
from domain.units import MILLS_PER_QUOTA


def adjust(command: commands.Adjust, books: Books) -> Result:
    past = books.history(streams.adjustment(command.command_key))
    if past:
        first = past[0]
        return Result("exists" if _is_that(command, first) else "exists_with_different", first)
    if not alive(books, streams.user(command.user), UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    account = accounts.available(command.user)
    before = books.guard(account).balance
    delta = command.delta
    if delta is None:
        assert command.target is not None, "an adjustment has a delta or a target"
        if before // MILLS_PER_QUOTA == command.target:
            return Result("unchanged", available=before)
        delta = command.target * MILLS_PER_QUOTA - before
    if delta == 0:
        return Result("unchanged", available=before)
    if abs(before + delta) > MAX_ACCOUNT_MILLS or _with_held(command.user, before + delta, books) > MAX_ACCOUNT_MILLS:
        return too_large(account, before + delta)
    fact = QuotaAdjusted(
        at=books.now,
        command_key=command.command_key,
        user=command.user,
        delta=delta,
        before=before,
        reason=command.reason,
        actor=command.actor,
        postings=((account, delta), (accounts.ADJUST, -delta)),
    )
    books.record(streams.adjustment(command.command_key), fact)
    return Result("created", fact)


def grant(command: commands.Grant, books: Books) -> Result:
    stream = streams.grant(command.user, command.why)
    past = books.history(stream)
    fact = given(command.user, command.amount, command.why, command.actor, books.now)
    if past:
        return same(past[0], msgspec.structs.replace(fact, at=past[0].at))
    if not alive(books, streams.user(command.user), UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    if command.amount <= 0:
        return Result("invalid", why="a grant gives something")
    account = accounts.available(command.user)
    total = _with_held(command.user, books.guard(account).balance + command.amount, books)
    if total > MAX_ACCOUNT_MILLS:
        return too_large(account, total)
    books.record(stream, fact)
    return Result("created", fact)


def _is_that(command: commands.Adjust, fact: Fact) -> bool:
    """Whether a correction that was made is the one that is asked for."""
    if not isinstance(fact, QuotaAdjusted) or fact.user != command.user:
        return False
    if command.delta is not None:
        return command.delta == fact.delta
    return command.target is not None and command.target * MILLS_PER_QUOTA == fact.before + fact.delta


def _with_held(user: int, available: int, books: Books) -> int:
    """What is held counts as well: it must always be possible to give it back."""
    return available + books.guard(accounts.held(user)).balance


def given(user: int, amount: int, why: str, actor: int, at: int) -> QuotaGranted:
    source = accounts.OPENING if why == "opening" else accounts.PROMO
    moved = ((accounts.available(user), amount), (source, -amount))
    return QuotaGranted(at=at, user=user, amount=amount, why=why, actor=actor, postings=moved)
