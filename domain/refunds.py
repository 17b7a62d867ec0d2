"""Refunds of a charge: each has a command key and happens once, and together they never pass what was paid."""

from domain import accounts, charges, commands
from domain.accounts import MAX_ACCOUNT_MILLS, Posting
from domain.books import Books, Result, credit_refused, too_large
from domain.events import ChargeRefunded

OF_A_TASK = "task:"
"""How the command keys of refunds begin that a failed task makes; nobody else's may."""


def refund(command: commands.Refund, books: Books) -> Result:
    """Give back part of what was paid. `needed` of the result is what was given back, `available` what could still be."""
    if command.command_key.startswith(OF_A_TASK):
        return Result("invalid", why=f"a command key that begins with {OF_A_TASK!r} belongs to the end of a task")
    return give_back(command, books)


def give_back(command: commands.Refund, books: Books) -> Result:
    """As `refund`, under any command key."""
    past = books.history(command.charge)
    bill = charges.bill_of(past)
    if bill is None:
        return Result("not_found", past[-1] if past else None, why=f"charge {command.charge} was never paid")
    if (bill.user, bill.key, bill.capped) != (command.user, command.key, command.capped):
        return Result("invalid", bill, why="another payer paid this charge")
    refunds = [fact for fact in past if isinstance(fact, ChargeRefunded)]
    left = bill.paid - sum(fact.amount for fact in refunds)
    for there in refunds:
        if there.command_key == command.command_key:
            is_that = command.amount == there.amount or (command.amount is None and not left)
            return Result("exists" if is_that else "exists_with_different", there, there.amount, left)
    amount = left if command.amount is None else command.amount
    if command.amount is None and not left:
        return Result("unchanged", bill, why="nothing is left to refund")
    if not 0 < amount <= left:
        why = f"{left} mills of what was paid are left to refund"
        return Result("insufficient" if amount > left else "invalid", bill, needed=amount, available=left, why=why)
    refused = _no_room(command, amount, books)
    if refused is not None:
        return refused
    fact = ChargeRefunded(
        at=books.now,
        command_key=command.command_key,
        user=command.user,
        key=command.key,
        capped=command.capped,
        amount=amount,
        reason=command.reason,
        actor=command.actor,
        postings=_postings(command, amount),
    )
    books.record(command.charge, fact)
    return Result("created", fact, needed=amount, available=left - amount)


def _no_room(command: commands.Refund, amount: int, books: Books) -> Result | None:
    refused = credit_refused(books, command.user, amount)
    if refused is not None or not command.capped:
        return refused
    cap = accounts.cap(command.key)
    total = books.guard(cap).balance + books.guard(accounts.cap_held(command.key)).balance + amount
    return too_large(cap, total) if total > MAX_ACCOUNT_MILLS else None


def _postings(command: commands.Refund, amount: int) -> tuple[Posting, ...]:
    moved: tuple[Posting, ...] = ((accounts.REVENUE, -amount), (accounts.available(command.user), amount))
    if not command.capped:
        return moved
    return (*moved, (accounts.cap_spent(command.key), -amount), (accounts.cap(command.key), amount))
