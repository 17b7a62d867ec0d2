"""Quota that the platform gives or takes: grants, opening balances, and an admin's corrections with their reason.

Each has a stream of its own, named for what makes it happen once.
"""

import msgspec

from domain import accounts, commands, streams
from domain.accounts import MAX_ACCOUNT_MILLS, Posting
from domain.books import Books, Result, alive, credit_refused, held_with, same, too_large
from domain.events import Fact, QuotaAdjusted, QuotaGranted, QuotaOpened, UserDeleted
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
        delta = _to_target(command.target, command.seen, before)
    if delta == 0:
        return Result("unchanged", available=before)
    refused = _out_of_bounds(books, command.user, before + delta)
    if refused is not None:
        return refused
    fact = QuotaAdjusted(
        at=books.now,
        command_key=command.command_key,
        user=command.user,
        delta=delta,
        before=before,
        seen=command.seen,
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
    refused = credit_refused(books, command.user, command.amount)
    if refused is not None:
        return refused
    books.record(stream, fact)
    return Result("created", fact)


def open_balance(command: commands.Open, books: Books) -> Result:
    stream = streams.opening(command.source, command.row)
    past = books.history(stream)
    if past:
        return same(past[0], _opened(command, past[0].at))
    if not alive(books, streams.user(command.user), UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    if command.invite < 0:
        return Result("invalid", why="an invite wallet is never negative")
    if max(abs(command.used), abs(command.calls)) > MAX_ACCOUNT_MILLS:
        return Result("invalid", why="so much was never used")
    account, wallet = accounts.available(command.user), accounts.invite(command.user)
    total = books.guard(account).balance + command.amount
    refused = _out_of_bounds(books, command.user, total)
    if refused is not None:
        return refused
    if books.guard(wallet).balance + command.invite > MAX_ACCOUNT_MILLS:
        return too_large(wallet, books.guard(wallet).balance + command.invite)
    fact = _opened(command, books.now)
    books.record(stream, fact)
    return Result("created", fact)


def _out_of_bounds(books: Books, user: int, available: int) -> Result | None:
    """Why a user cannot be left with `available` mills; None when they can. Below the floor they can be left, here."""
    total = held_with(books, user, available)
    if total > MAX_ACCOUNT_MILLS:
        return too_large(accounts.available(user), total)
    return too_large(accounts.available(user), available) if available < -MAX_ACCOUNT_MILLS else None


def _is_that(command: commands.Adjust, fact: Fact) -> bool:
    """Whether a correction that was made is the one that is asked for."""
    if not isinstance(fact, QuotaAdjusted) or fact.user != command.user:
        return False
    if command.delta is not None:
        return command.delta == fact.delta
    if command.target is not None and command.seen is not None:
        return (command.target - command.seen) * MILLS_PER_QUOTA == fact.delta and command.seen == fact.seen
    return command.target is not None and command.target * MILLS_PER_QUOTA == fact.before + fact.delta


def _to_target(target: int, seen: int | None, before: int) -> int:
    """Mills from here to `target` quota: from what was seen, so that later movements stay, or else from what is there."""
    if seen is not None:
        return (target - seen) * MILLS_PER_QUOTA
    return 0 if before // MILLS_PER_QUOTA == target else target * MILLS_PER_QUOTA - before


def _opened(command: commands.Open, at: int) -> QuotaOpened:
    moved: list[Posting] = [(accounts.available(command.user), command.amount)]
    moved += [(accounts.invite(command.user), command.invite), (accounts.OPENING, -command.amount - command.invite)]
    return QuotaOpened(
        at=at,
        user=command.user,
        amount=command.amount,
        invite=command.invite,
        used=command.used,
        calls=command.calls,
        source=command.source,
        row=command.row,
        digest=command.digest,
        actor=command.actor,
        postings=tuple(posting for posting in moved if posting[1]),
    )


def given(user: int, amount: int, why: str, actor: int, at: int) -> QuotaGranted:
    source = accounts.OPENING if why == "opening" else accounts.PROMO
    moved = ((accounts.available(user), amount), (source, -amount))
    return QuotaGranted(at=at, user=user, amount=amount, why=why, actor=actor, postings=moved)
