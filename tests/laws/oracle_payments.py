"""The oracle's rules of a payment: credited once, whatever comes how often; money that does not fit waits for a person."""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase, digits

from domain import commands
from tests.laws.oracle_quota import rebate
from tests.laws.oracle_state import LIMIT, Answer, Payment, State, too_large


def initiate(state: State, command: commands.InitiateTopUp, now: int) -> Answer:
    there = state.payments.get((command.provider, command.trade))
    if there is not None:
        return Answer("exists" if there.order == command else "exists_with_different")
    is_money = 1 <= command.money_minor <= LIMIT and 1 <= command.amount <= LIMIT
    is_currency = len(command.currency) == 3 and set(command.currency) <= set(ascii_uppercase)
    if not is_money or not is_currency or not _is_named(command.provider, command.trade):
        return Answer("invalid")
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    state.payments[command.provider, command.trade] = Payment(order=command)
    return Answer("created")


def settle(state: State, command: commands.SettleTopUp, now: int) -> Answer:
    if not _is_named(command.provider, command.trade) or not -LIMIT <= command.money_minor <= LIMIT:
        return Answer("invalid")
    there = state.payments.get((command.provider, command.trade)) or Payment()
    money = (command.money_minor, command.currency)
    if there.credited is not None:
        return Answer("exists" if there.credited[2:4] == money else "exists_with_different")
    order = there.order
    if order is not None and order.user != command.user:
        return Answer("stale")
    why = _misfit(state, command, order)
    if why:
        notice = (*money, command.provider_event, why)
        if notice not in there.odd:
            there.odd.append(notice)
        state.payments[command.provider, command.trade] = there
        return Answer("flagged", why=why)
    assert order is not None, "what fits has an order"
    full = state.full(order.user, order.amount)
    if full is None:
        _credit(state, there, command, order.amount, money, 0)
    return full or Answer("created")


def resolve(state: State, command: commands.ResolveTopUp, now: int) -> Answer:
    there = state.payments.get((command.provider, command.trade)) or Payment()
    if there.credited is not None:
        user, amount, _, _, actor = there.credited
        is_that = (command.user, command.amount, command.actor) == (user, amount, actor)
        return Answer("exists" if is_that else "exists_with_different")
    if not there.odd or not state.is_alive("user", command.user):
        return Answer("not_found")
    if command.amount <= 0:
        return Answer("invalid")
    full = state.full(command.user, command.amount)
    if full is None:
        _credit(state, there, command, command.amount, there.odd[-1][:2], command.actor)
    return full or Answer("created")


def fail(state: State, command: commands.FailTopUp, now: int) -> Answer:
    there = state.payments.get((command.provider, command.trade)) or Payment()
    if there.credited is not None:
        return Answer("already_settled")
    if there.order is None:
        return Answer("not_found")
    was_failed, there.failed = there.failed, True
    return Answer("exists" if was_failed else "created")


def reverse(state: State, command: commands.ReverseTopUp, now: int) -> Answer:
    there = state.payments.get((command.provider, command.trade))
    if there is None or there.credited is None:
        return Answer("not_found")
    if there.credited[0] != command.user:
        return Answer("stale")
    known = there.reversals.get(command.command_key)
    if known is not None:
        is_that = there.left == 0 if command.amount is None else command.amount == known
        return Answer("exists" if is_that else "exists_with_different")
    if command.amount is None and there.left == 0:
        return Answer("unchanged")
    amount = there.left if command.amount is None else command.amount
    if amount <= 0:
        return Answer("invalid")
    if amount > there.left:
        return Answer("insufficient", needed=amount, available=there.left)
    account = f"user:{command.user}:available"
    if state.balances[account] - amount < -LIMIT:
        return too_large(account, state.balances[account] - amount)
    state.move(account, f"platform:topup:{command.provider}", amount)
    there.reversals[command.command_key] = amount
    return Answer("created")


def _misfit(state: State, command: commands.SettleTopUp, order: commands.InitiateTopUp | None) -> str:
    if order is None:
        return "unknown_order"
    if order.currency != command.currency:
        return "currency"
    if order.money_minor != command.money_minor:
        return "amount"
    return "" if state.is_alive("user", order.user) else "user_deleted"


def _credit(
    state: State, there: Payment, command: commands.OnPayment, amount: int, money: tuple[int, str], actor: int
) -> None:
    state.move(f"platform:topup:{command.provider}", f"user:{command.user}:available", amount)
    there.credited = (command.user, amount, *money, actor)
    rebate(state, command)


def _is_named(provider: str, trade: str) -> bool:
    letters = set(ascii_lowercase + digits + "_-")
    return 1 <= len(provider) <= 32 and set(provider) <= letters and 1 <= len(trade) <= 128
