"""What an auditor expects of quota that is given, corrected, brought along or paid for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import msgspec

from domain import commands
from domain.commands import Command
from tests.simulator.auditor import (
    CHARGE_RULES,
    CREATED,
    DIFFERENT,
    EXISTS,
    INSUFFICIENT,
    INVALID,
    MOST,
    NOT_FOUND,
    STALE,
    TOO_LARGE,
    UNCHANGED,
    Answer,
    Auditor,
    Payment,
    found,
)
from tests.simulator.auditor_registry import REGISTRY_RULES, give, no_credit, rebate

EPOCH_DAY = date(1970, 1, 1).toordinal()


def adjust(books: Auditor, command: commands.Adjust, now: int) -> Answer:
    account = f"user:{command.user}:available"
    before = books.balances[account]
    there = books.once.get(("adjust", command.command_key))
    if there is not None:
        return EXISTS if _is_that(command, there) else DIFFERENT
    if not books.lives(command.user):
        return NOT_FOUND
    delta = command.delta
    if delta is None:
        assert command.target is not None, "an adjustment has a delta or a target"
        if command.seen is not None:
            delta = 1000 * (command.target - command.seen)
        else:
            delta = 0 if before // 1000 == command.target else 1000 * command.target - before
    if not delta:
        return UNCHANGED
    if before + delta < -MOST or before + delta > MOST or books.is_full(command.user, delta):
        return TOO_LARGE
    books.move("platform:adjust", account, delta)
    books.once["adjust", command.command_key] = (command.user, delta, command.seen, before + delta)
    return CREATED


def _is_that(command: commands.Adjust, there: object) -> bool:
    assert isinstance(there, tuple), "an adjustment is remembered by what it did"
    user, delta, seen, after = there
    if user != command.user:
        return False
    if command.delta is not None:
        return bool(command.delta == delta)
    assert command.target is not None, "an adjustment has a delta or a target"
    if command.seen is not None:
        return bool(command.seen == seen and 1000 * (command.target - command.seen) == delta)
    return bool(1000 * command.target == after)


def grant(books: Auditor, command: commands.Grant, now: int) -> Answer:
    there = books.once.get(("grant", command.user, command.why))
    if there is not None:
        return found(there, (command.amount, command.actor))
    refused = no_credit(books, command.user, command.amount)
    if refused:
        return refused
    give(books, command.user, command.amount, command.why, command.actor)
    return CREATED


def open_balance(books: Auditor, command: commands.Open, now: int) -> Answer:
    name = ("open", command.source, command.row)
    asked = msgspec.structs.astuple(command)
    if name in books.once:
        return found(books.once[name], asked)
    account, wallet = f"user:{command.user}:available", f"user:{command.user}:invite"
    if not books.lives(command.user):
        return NOT_FOUND
    if command.invite < 0 or max(abs(command.used), abs(command.calls)) > MOST:
        return INVALID
    total = books.balances[account] + command.amount
    if abs(total) > MOST or books.is_full(command.user, command.amount):
        return TOO_LARGE
    if books.balances[wallet] + command.invite > MOST:
        return TOO_LARGE
    books.once[name] = asked
    books.move("platform:opening", account, command.amount)
    books.move("platform:opening", wallet, command.invite)
    return CREATED


def check_in(books: Auditor, command: commands.CheckIn, now: int) -> Answer:
    name = ("check in", command.user, command.day)
    if name in books.once:
        return EXISTS
    if command.day != date.fromordinal(EPOCH_DAY + now // 86_400_000).isoformat():
        return STALE
    refused = no_credit(books, command.user, command.amount)
    if refused:
        return refused
    books.once[name] = True
    books.move("platform:promo", f"user:{command.user}:available", command.amount)
    return CREATED


def transfer_invite(books: Auditor, command: commands.TransferInvite, now: int) -> Answer:
    name, wallet = ("transfer", command.command_key), f"user:{command.user}:invite"
    if name in books.once:
        return found(books.once[name], (command.user, command.amount))
    if not books.lives(command.user):
        return NOT_FOUND
    if command.amount <= 0:
        return INVALID
    if books.balances[wallet] < command.amount:
        return INSUFFICIENT
    if books.is_full(command.user, command.amount):
        return TOO_LARGE
    books.once[name] = (command.user, command.amount)
    books.move(wallet, f"user:{command.user}:available", command.amount)
    return CREATED


def initiate(books: Auditor, command: commands.InitiateTopUp, now: int) -> Answer:
    there = books.payments.get((command.provider, command.trade))
    if there:
        return found(there.order, command)
    if (
        not 0 < command.amount <= MOST
        or not 0 < command.money_minor <= MOST
        or not _is_named(command.provider, command.trade)
    ):
        return INVALID
    if len(command.currency) != 3 or not (command.currency.isascii() and command.currency.isupper()):
        return INVALID
    if not books.lives(command.user):
        return NOT_FOUND
    books.payments[command.provider, command.trade] = Payment(command)
    return CREATED


def _is_named(provider: str, trade: str) -> bool:
    return 0 < len(provider) <= 32 and provider.isascii() and provider.islower() and 0 < len(trade) <= 128


def settle_payment(books: Auditor, command: commands.SettleTopUp, now: int) -> Answer:
    if not _is_named(command.provider, command.trade) or abs(command.money_minor) > MOST:
        return INVALID
    there = books.payments.get((command.provider, command.trade), Payment())
    money = (command.money_minor, command.currency)
    if there.credit:
        return found(there.money, money)
    order = there.order
    if order and order.user != command.user:
        return STALE
    why = "unknown_order"
    if order:
        ordered = (order.money_minor, order.currency)
        why = "currency" if money[1] != ordered[1] else "amount" if money != ordered else ""
        why = why or ("" if books.lives(order.user) else "user_deleted")
    if why:
        flag = (order.user if order else 0, *money, command.provider_event, why)
        if flag not in there.flags:
            there.flags.append(flag)
        books.payments[command.provider, command.trade] = there
        return Answer("flagged")
    assert order, "what fits has an order"
    return _credit(books, there, command, order.amount, money, 0)


def _credit(
    books: Auditor, there: Payment, command: commands.OnPayment, amount: int, money: tuple[int, str], actor: int
) -> Answer:
    refused = no_credit(books, command.user, amount)
    if refused:
        return refused
    there.credit, there.money = (command.user, amount, actor), money
    books.move(f"platform:topup:{command.provider}", f"user:{command.user}:available", amount)
    rebate(books, command)
    return CREATED


def resolve(books: Auditor, command: commands.ResolveTopUp, now: int) -> Answer:
    there = books.payments.get((command.provider, command.trade), Payment())
    if there.credit:
        return found(there.credit, (command.user, command.amount, command.actor))
    if not there.flags:
        return NOT_FOUND
    _, minor, currency, _, _ = there.flags[-1]
    return _credit(books, there, command, command.amount, (minor, currency), command.actor)


def fail_payment(books: Auditor, command: commands.FailTopUp, now: int) -> Answer:
    there = books.payments.get((command.provider, command.trade), Payment())
    if there.credit:
        return Answer("already_settled")
    if not there.order:
        return NOT_FOUND
    was, there.failed = there.failed, True
    return EXISTS if was else CREATED


def reverse(books: Auditor, command: commands.ReverseTopUp, now: int) -> Answer:
    there = books.payments.get((command.provider, command.trade), Payment())
    if not there.credit:
        return NOT_FOUND
    user, credited, _ = there.credit
    if user != command.user:
        return STALE
    left = credited - sum(there.reversals.values())
    if command.command_key in there.reversals:
        is_that = command.amount == there.reversals[command.command_key] or (command.amount is None and not left)
        return EXISTS if is_that else DIFFERENT
    if command.amount is None and not left:
        return UNCHANGED
    amount = left if command.amount is None else command.amount
    if amount > left:
        return INSUFFICIENT
    if amount <= 0:
        return INVALID
    account = f"user:{user}:available"
    if books.balances[account] - amount < -MOST:
        return TOO_LARGE
    there.reversals[command.command_key] = amount
    books.move(account, f"platform:topup:{command.provider}", amount)
    return CREATED


MONEY_RULES: dict[type[Command], Callable[..., Answer]] = {
    commands.Adjust: adjust,
    commands.Grant: grant,
    commands.Open: open_balance,
    commands.CheckIn: check_in,
    commands.TransferInvite: transfer_invite,
    commands.InitiateTopUp: initiate,
    commands.SettleTopUp: settle_payment,
    commands.ResolveTopUp: resolve,
    commands.FailTopUp: fail_payment,
    commands.ReverseTopUp: reverse,
}


def opened_auditor() -> Auditor:
    auditor = Auditor()
    auditor.rules = {**CHARGE_RULES, **REGISTRY_RULES, **MONEY_RULES}
    return auditor
