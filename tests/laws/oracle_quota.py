"""The oracle's rules of quota that is given, taken or moved, and of how low a balance may go."""

from __future__ import annotations

from datetime import date, timedelta

from domain import commands
from tests.laws.oracle_state import LIMIT, Adjustment, Answer, State, too_large


def adjust(state: State, command: commands.Adjust, now: int) -> Answer:
    there = state.adjustments.get(command.command_key)
    if there is not None:
        return Answer("exists" if _is_that(command, there) else "exists_with_different")
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    account = f"user:{command.user}:available"
    before = state.balances[account]
    if command.delta is not None:
        delta = command.delta
    else:
        assert command.target is not None, "an adjustment has a delta or a target"
        there_already = command.seen is None and before // 1000 == command.target
        start = before if command.seen is None else command.seen * 1000
        delta = 0 if there_already else command.target * 1000 - start
    if delta == 0:
        return Answer("unchanged", available=before)
    refused = _unbearable(state, command.user, delta)
    if refused is None:
        state.move("platform:adjust", account, delta)
        state.adjustments[command.command_key] = Adjustment(command.user, delta, before + delta, command.seen)
    return refused or Answer("created")


def grant(state: State, command: commands.Grant, now: int) -> Answer:
    there = state.grants.get((command.user, command.why))
    if there is not None:
        return Answer("exists" if there == (command.amount, command.actor) else "exists_with_different")
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    if command.amount <= 0:
        return Answer("invalid")
    full = state.full(command.user, command.amount)
    if full is None:
        give(state, command.user, command.amount, command.why, command.actor)
    return full or Answer("created")


def open_balance(state: State, command: commands.Open, now: int) -> Answer:
    there = state.openings.get((command.source, command.row))
    if there is not None:
        return Answer("exists" if there == command else "exists_with_different")
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    if command.invite < 0 or max(abs(command.used), abs(command.calls)) > LIMIT:
        return Answer("invalid")
    refused = _unbearable(state, command.user, command.amount) or full_wallet(state, command.user, command.invite)
    if refused is None:
        state.move("platform:opening", f"user:{command.user}:available", command.amount)
        state.move("platform:opening", f"user:{command.user}:invite", command.invite)
        state.openings[command.source, command.row] = command
    return refused or Answer("created")


def check_in(state: State, command: commands.CheckIn, now: int) -> Answer:
    if (command.user, command.day) in state.days:
        return Answer("exists")
    if command.day != str(date(1970, 1, 1) + timedelta(days=now // 86_400_000)):
        return Answer("stale")
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    if command.amount <= 0:
        return Answer("invalid")
    full = state.full(command.user, command.amount)
    if full is None:
        state.move("platform:promo", f"user:{command.user}:available", command.amount)
        state.days.add((command.user, command.day))
    return full or Answer("created")


def transfer_invite(state: State, command: commands.TransferInvite, now: int) -> Answer:
    there = state.transfers.get(command.command_key)
    if there is not None:
        return Answer("exists" if there == command else "exists_with_different")
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    if command.amount <= 0:
        return Answer("invalid")
    wallet = f"user:{command.user}:invite"
    if state.balances[wallet] < command.amount:
        return Answer("insufficient", needed=command.amount, available=state.balances[wallet], account=wallet)
    full = state.full(command.user, command.amount)
    if full is None:
        state.move(wallet, f"user:{command.user}:available", command.amount)
        state.transfers[command.command_key] = command
    return full or Answer("created")


def set_credit_limit(state: State, command: commands.SetCreditLimit, now: int) -> Answer:
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    if not 0 <= command.limit <= LIMIT:
        return Answer("invalid")
    if state.credit[command.user] == command.limit:
        return Answer("unchanged")
    state.credit[command.user] = command.limit
    state.noted("user", command.user)
    return Answer("created")


def freeze(state: State, command: commands.Freeze, now: int) -> Answer:
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    if command.user in state.frozen:
        return Answer("unchanged")
    state.frozen.add(command.user)
    state.noted("user", command.user)
    return Answer("created")


def unfreeze(state: State, command: commands.Unfreeze, now: int) -> Answer:
    if not state.is_alive("user", command.user):
        return Answer("not_found")
    if command.user not in state.frozen:
        return Answer("unchanged")
    state.frozen.remove(command.user)
    state.noted("user", command.user)
    return Answer("created")


def give(state: State, user: int, amount: int, why: str, actor: int) -> None:
    state.move("platform:opening" if why == "opening" else "platform:promo", f"user:{user}:available", amount)
    state.grants[user, why] = (amount, actor)


def rebate(state: State, command: commands.Rebated) -> None:
    """The inviter's share of a credit that was just made: nothing for oneself, for somebody gone, or for a full account."""
    if command.rebate <= 0 or command.inviter == command.user or not state.is_alive("user", command.inviter):
        return
    if state.full(command.inviter, command.rebate) is None:
        state.move("platform:promo", f"user:{command.inviter}:available", command.rebate)


def full_wallet(state: State, user: int, amount: int) -> Answer | None:
    wallet = f"user:{user}:invite"
    total = state.balances[wallet] + amount
    return too_large(wallet, total) if total > LIMIT else None


def _unbearable(state: State, user: int, delta: int) -> Answer | None:
    """A correction may leave a balance below its floor, but not beyond what an account can hold in either direction."""
    account = f"user:{user}:available"
    after = state.balances[account] + delta
    return state.full(user, delta) or (too_large(account, after) if after < -LIMIT else None)


def _is_that(command: commands.Adjust, there: Adjustment) -> bool:
    if command.user != there.user:
        return False
    if command.delta is not None:
        return command.delta == there.delta
    assert command.target is not None, "an adjustment has a delta or a target"
    if command.seen is not None:
        return command.seen == there.seen and (command.target - command.seen) * 1000 == there.delta
    return command.target * 1000 == there.after
