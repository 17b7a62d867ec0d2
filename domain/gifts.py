"""What users get for coming, and for bringing others: the daily reward, invite bonuses and rebates, each once."""

from datetime import UTC, datetime

from domain import accounts, commands, streams
from domain.accounts import MAX_ACCOUNT_MILLS
from domain.books import Books, Result, alive, credit_refused, same, too_large
from domain.events import CheckedIn, InviteRewarded, InviteTransferred, RebateGranted, UserDeleted


def check_in(command: commands.CheckIn, books: Books) -> Result:
    stream = streams.check_in(command.user, command.day)
    past = books.history(stream)
    if past:
        return Result("exists", past[0])
    if command.day != day_of(books.now):
        return Result("stale", why=f"it is {day_of(books.now)} in UTC, not {command.day}")
    if not alive(books, streams.user(command.user), UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    if command.amount <= 0:
        return Result("invalid", why="a reward gives something")
    refused = credit_refused(books, command.user, command.amount)
    if refused is not None:
        return refused
    moved = ((accounts.available(command.user), command.amount), (accounts.PROMO, -command.amount))
    fact = CheckedIn(at=books.now, user=command.user, day=command.day, amount=command.amount, postings=moved)
    books.record(stream, fact)
    return Result("created", fact)


def day_of(now_ms: int) -> str:
    """The UTC day of a moment, such as `2026-11-22`."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()


def transfer_invite(command: commands.TransferInvite, books: Books) -> Result:
    stream = streams.invite_transfer(command.command_key)
    wallet, account = accounts.invite(command.user), accounts.available(command.user)
    moved = ((wallet, -command.amount), (account, command.amount))
    past = books.history(stream)
    fact = InviteTransferred(
        at=past[0].at if past else books.now,
        command_key=command.command_key,
        user=command.user,
        amount=command.amount,
        postings=moved,
    )
    if past:
        return same(past[0], fact)
    if not alive(books, streams.user(command.user), UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    if command.amount <= 0:
        return Result("invalid", why="a transfer moves something")
    there = books.spendable(wallet)
    if there < command.amount:
        return Result("insufficient", needed=command.amount, available=there, account=wallet)
    refused = credit_refused(books, command.user, command.amount)
    if refused is not None:
        return refused
    books.record(stream, fact)
    return Result("created", fact)


def reward_inviter(inviter: int, invited: int, amount: int, books: Books) -> None:
    """Record the bonus for a registration. Whether the wallet can hold it was asked before: see `bonus_refused`."""
    moved = ((accounts.invite(inviter), amount), (accounts.PROMO, -amount))
    fact = InviteRewarded(at=books.now, user=inviter, invited=invited, amount=amount, postings=moved)
    books.record(streams.invited(invited), fact)


def bonus_refused(inviter: int, amount: int, books: Books) -> Result | None:
    wallet = accounts.invite(inviter)
    total = books.guard(wallet).balance + amount
    return too_large(wallet, total) if total > MAX_ACCOUNT_MILLS else None


def grant_rebate(command: commands.Rebated, books: Books) -> None:
    """Record the inviter's share of a credit that has just been recorded, where there is somebody to have it."""
    if command.rebate <= 0 or command.inviter == command.user:
        return
    stream = streams.rebate(command.credited())
    if books.history(stream) or not alive(books, streams.user(command.inviter), UserDeleted):
        return
    if credit_refused(books, command.inviter, command.rebate) is not None:
        return
    moved = ((accounts.available(command.inviter), command.rebate), (accounts.PROMO, -command.rebate))
    fact = RebateGranted(
        at=books.now,
        user=command.inviter,
        invited=command.user,
        amount=command.rebate,
        source=command.credited(),
        postings=moved,
    )
    books.record(stream, fact)
