"""A payment: ordered, paid or failed, perhaps reversed. Money that arrived and does not fit its order is flagged; only an account
that can hold no more refuses it.

Its stream is named for the provider and the trade number, so a notice that comes ten times credits once.
"""

import re
from collections.abc import Sequence

import msgspec

from domain import accounts, commands, streams
from domain.accounts import MAX_ACCOUNT_MILLS
from domain.books import Books, Result, alive, credit_refused, same, too_large
from domain.events import Fact, TopUpFailed, TopUpFlagged, TopUpInitiated, TopUpReversed, TopUpSettled, UserDeleted
from domain.gifts import grant_rebate

PROVIDER = re.compile(r"[a-z0-9_-]{1,32}")
CURRENCY = re.compile(r"[A-Z]{3}")
MAX_TRADE_CHARS = 128
MAX_MONEY_MINOR = 9 * 10**18
"""What a payment may be said to be about, so that its figure fits wherever it is stored."""


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as the facts of its stream have left it."""

    order: TopUpInitiated | None = None
    settled: TopUpSettled | None = None
    failed: TopUpFailed | None = None
    flagged: tuple[TopUpFlagged, ...] = ()
    reversals: tuple[TopUpReversed, ...] = ()

    @property
    def reversed_mills(self) -> int:
        return sum(fact.amount for fact in self.reversals)


def from_facts(facts: Sequence[Fact]) -> Payment:
    payment = Payment()
    for fact in facts:
        match fact:
            case TopUpInitiated():
                payment = msgspec.structs.replace(payment, order=fact)
            case TopUpSettled():
                payment = msgspec.structs.replace(payment, settled=fact)
            case TopUpFailed():
                payment = msgspec.structs.replace(payment, failed=fact)
            case TopUpFlagged():
                payment = msgspec.structs.replace(payment, flagged=(*payment.flagged, fact))
            case TopUpReversed():
                payment = msgspec.structs.replace(payment, reversals=(*payment.reversals, fact))
            case _:
                pass
    return payment


def initiate(command: commands.InitiateTopUp, books: Books) -> Result:
    stream = streams.payment(command.provider, command.trade)
    past = books.history(stream)
    if past:
        return same(past[0], _ordered(command, past[0].at))
    wrong = _wrong_order(command)
    if wrong:
        return Result("invalid", why=wrong)
    if not alive(books, streams.user(command.user), UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    fact = _ordered(command, books.now)
    books.record(stream, fact)
    return Result("created", fact)


def settle(command: commands.SettleTopUp, books: Books) -> Result:
    payment = from_facts(books.history(command.credited()))
    wrong = _wrong_name(command.provider, command.trade)
    if not wrong and abs(command.money_minor) > MAX_MONEY_MINOR:
        wrong = "so much money there is not"
    if wrong:
        return Result("invalid", why=wrong)
    if payment.settled is not None:
        there, asked = payment.settled, (command.money_minor, command.currency)
        return Result("exists" if (there.money_minor, there.currency) == asked else "exists_with_different", there)
    order = payment.order
    if order is not None and order.user != command.user:
        return Result("stale", order, why=f"the order is user {order.user}'s: read it before settling it")
    why = _misfit(command, order, books)
    if why:
        return _flag(command, payment, why, books)
    assert order is not None, "what fits has an order"
    refused = credit_refused(books, order.user, order.amount)
    if refused is not None:
        return refused
    return _credit(command, order.amount, command.money_minor, command.currency, books)


def resolve(command: commands.ResolveTopUp, books: Books) -> Result:
    payment = from_facts(books.history(command.credited()))
    if payment.settled is not None:
        there = payment.settled
        is_that = (there.user, there.amount, there.actor) == (command.user, command.amount, command.actor)
        return Result("exists" if is_that else "exists_with_different", there)
    if not payment.flagged:
        return Result("not_found", why="no flagged payment has that number")
    if not alive(books, streams.user(command.user), UserDeleted):
        return Result("not_found", why=f"there is no user {command.user}")
    if command.amount <= 0:
        return Result("invalid", why="a payment credits something")
    refused = credit_refused(books, command.user, command.amount)
    if refused is not None:
        return refused
    money = payment.flagged[-1]
    return _credit(command, command.amount, money.money_minor, money.currency, books)


def fail(command: commands.FailTopUp, books: Books) -> Result:
    payment = from_facts(books.history(command.credited()))
    if payment.settled is not None:
        return Result("already_settled", payment.settled)
    if payment.order is None:
        return Result("not_found", why="no order has that number")
    if payment.failed is not None:
        return Result("exists", payment.failed)
    fact = TopUpFailed(
        at=books.now, provider=command.provider, trade=command.trade, user=payment.order.user, why=command.why
    )
    books.record(command.credited(), fact)
    return Result("created", fact)


def reverse(command: commands.ReverseTopUp, books: Books) -> Result:
    payment = from_facts(books.history(command.credited()))
    settled = payment.settled
    if settled is None:
        return Result("not_found", why="no payment with that number was credited")
    if settled.user != command.user:
        return Result("stale", settled, why=f"it was credited to user {settled.user}")
    left = settled.amount - payment.reversed_mills
    for there in payment.reversals:
        if there.command_key == command.command_key:
            is_that = command.amount == there.amount or (command.amount is None and not left)
            return Result("exists" if is_that else "exists_with_different", there)
    if command.amount is None and not left:
        return Result("unchanged", settled, why="nothing is left to reverse")
    amount = left if command.amount is None else command.amount
    account = accounts.available(command.user)
    if not 0 < amount <= left:
        why = "what is reversed is something, and not more than what is left of the credit"
        return Result("insufficient" if amount > left else "invalid", needed=amount, available=left, why=why)
    total = books.guard(account).balance - amount
    if total < -MAX_ACCOUNT_MILLS:
        return too_large(account, total)
    fact = TopUpReversed(
        at=books.now,
        command_key=command.command_key,
        provider=command.provider,
        trade=command.trade,
        user=command.user,
        amount=amount,
        reason=command.reason,
        actor=command.actor,
        postings=((account, -amount), (accounts.topup(command.provider), amount)),
    )
    books.record(command.credited(), fact)
    return Result("created", fact)


def _ordered(command: commands.InitiateTopUp, at: int) -> TopUpInitiated:
    return TopUpInitiated(
        at=at,
        provider=command.provider,
        trade=command.trade,
        user=command.user,
        amount=command.amount,
        money_minor=command.money_minor,
        currency=command.currency,
        method=command.method,
    )


def _credit(
    command: commands.SettleTopUp | commands.ResolveTopUp, amount: int, money: int, currency: str, books: Books
) -> Result:
    by_hand = command if isinstance(command, commands.ResolveTopUp) else None
    fact = TopUpSettled(
        at=books.now,
        provider=command.provider,
        trade=command.trade,
        user=command.user,
        amount=amount,
        money_minor=money,
        currency=currency,
        provider_event=command.provider_event if isinstance(command, commands.SettleTopUp) else "",
        actor=by_hand.actor if by_hand else 0,
        reason=by_hand.reason if by_hand else "",
        postings=((accounts.available(command.user), amount), (accounts.topup(command.provider), -amount)),
    )
    books.record(command.credited(), fact)
    grant_rebate(command, books)
    return Result("created", fact)


def _misfit(command: commands.SettleTopUp, order: TopUpInitiated | None, books: Books) -> str:
    if order is None:
        return "unknown_order"
    if command.currency != order.currency:
        return "currency"
    if command.money_minor != order.money_minor:
        return "amount"
    return "" if alive(books, streams.user(order.user), UserDeleted) else "user_deleted"


def _flag(command: commands.SettleTopUp, payment: Payment, why: str, books: Books) -> Result:
    fact = TopUpFlagged(
        at=books.now,
        provider=command.provider,
        trade=command.trade,
        user=payment.order.user if payment.order else 0,
        money_minor=command.money_minor,
        currency=command.currency,
        provider_event=command.provider_event,
        why=why,
    )
    for there in payment.flagged:
        if msgspec.structs.replace(fact, at=there.at) == there:
            return Result("flagged", there, why=why)
    books.record(command.credited(), fact)
    return Result("flagged", fact, why=why)


def _wrong_order(command: commands.InitiateTopUp) -> str:
    if not 0 < command.amount <= MAX_ACCOUNT_MILLS:
        return "an order buys between 1 mill and 9e15 quota"
    if not 0 < command.money_minor <= MAX_MONEY_MINOR or not CURRENCY.fullmatch(command.currency):
        return "an order asks for money, in a currency of three capital letters"
    return _wrong_name(command.provider, command.trade)


def _wrong_name(provider: str, trade: str) -> str:
    if not PROVIDER.fullmatch(provider):
        return "a provider is named by at most 32 small letters, digits, - and _"
    return "" if 0 < len(trade) <= MAX_TRADE_CHARS else f"a trade number has 1 to {MAX_TRADE_CHARS} characters"
