"""The oracle's rules of a charge: held, extended, ended once, and what it paid given back."""

from __future__ import annotations

from domain import commands
from tests.laws.oracle_state import LIMIT, Answer, Charge, State, Task, too_large


def hold(state: State, command: commands.Hold, now: int) -> Answer:
    there = state.charges.get(command.charge)
    if there is not None:
        return Answer("exists" if command == there.hold else "exists_with_different")
    if command.amount < 0:
        return Answer("invalid")
    short = _short(state, command, command.amount)
    if short is None:
        state.charges[command.charge] = Charge(command, now)
        _set_aside(state, command, command.amount)
    return short or Answer("created")


def extend(state: State, command: commands.Extend, now: int) -> Answer:
    charge = state.charges.get(command.charge)
    if charge is None:
        return Answer("not_found")
    for there in charge.extensions:
        if there.n == command.n:
            return Answer("exists" if command == there else "exists_with_different")
    if charge.end:
        return Answer(f"already_{charge.end}")
    if charge.payer != (command.user, command.key, command.capped) or command.amount <= 0:
        return Answer("invalid")
    if command.n != len(charge.extensions) + 1:
        return Answer("stale")
    short = _short(state, command, command.amount)
    if short is None:
        charge.extensions.append(command)
        _set_aside(state, command, command.amount)
    return short or Answer("created")


def settle(state: State, command: commands.Settle, now: int) -> Answer:
    if not 0 <= command.cost <= LIMIT:
        return Answer("invalid")
    charge = state.charges.get(command.charge)
    if charge is not None and charge.end == "expired":
        return _settle_late(state, charge, command)
    refused = _not_open(charge, command)
    if refused is not None and charge is not None and charge.settled is not None:
        return Answer("exists" if same_bill(charge.settled, command) else "exists_with_different")
    if refused is not None:
        return refused
    assert charge is not None, "only a charge that is there can be open"
    _give_back(state, charge)
    charge.paid = _pay(state, command, charge.held)
    charge.end, charge.settled = "settled", command
    return Answer("created")


def release(state: State, command: commands.Release, now: int) -> Answer:
    return _end_free(state, command, "released")


def expire(state: State, command: commands.Expire, now: int) -> Answer:
    charge = state.charges.get(command.charge)
    is_early = charge is not None and now < charge.at + charge.hold.ttl_ms
    if _not_open(charge, command) is None and is_early and not command.dead_epoch:
        return Answer("not_yet")
    return _end_free(state, command, "expired")


def refund(state: State, command: commands.Refund, now: int) -> Answer:
    if command.command_key.startswith("task:"):
        return Answer("invalid")
    return _refund(state, command)


def accept(state: State, command: commands.Accept, now: int) -> Answer:
    """A task and the payment for it are one thing: a charge that was paid without this task begins none."""
    there = state.tasks.get(command.task)
    if there is not None:
        return Answer("exists" if _same_task(there.accepted, command) else "exists_with_different")
    if command.task in state.charges:
        return Answer("exists_with_different")
    if command.task_ttl_ms <= 0:
        return Answer("invalid")
    paid = settle(state, command, now)
    if paid.status == "exists":
        return Answer("already_settled")
    if paid.status == "created":
        state.tasks[command.task] = Task(command, now)
    return paid


def end_task(state: State, command: commands.EndTask, now: int) -> Answer:
    task = state.tasks.get(command.task)
    if task is None:
        return Answer("not_found")
    begun = task.accepted
    if (begun.charge, begun.user, begun.key, begun.capped) != (
        command.charge, command.user, command.key, command.capped,
    ):  # fmt: skip
        return Answer("invalid")
    ends_well = command.outcome == "succeeded"
    if task.end:
        return Answer("exists" if (task.end == "succeeded") == ends_well else "exists_with_different")
    if command.outcome == "given_up" and now < task.at + begun.task_ttl_ms:
        return Answer("not_yet")
    if not ends_well:
        back = commands.Refund(
            charge=command.charge, user=command.user, key=command.key, capped=command.capped, command_key=command.task
        )
        answer = _refund(state, back)
        if answer.status == "too_large":
            return answer
    task.end = command.outcome
    return Answer("created")


def same_bill(first: commands.Settle, again: commands.Settle) -> bool:
    return _bill(first) == _bill(again)


def _short(state: State, command: commands.OnCharge, amount: int) -> Answer | None:
    """The first of the payer's accounts that cannot give the amount. Below its floor, an account gives not even nothing."""
    for account in _sources(command):
        if command.user in state.frozen and account.startswith("user:"):
            return Answer("frozen", needed=amount, account=account)
        there = _spendable(state, command, account)
        if there < max(amount, 0):
            return Answer("insufficient", needed=amount, available=there, account=account)
    held = f"user:{command.user}:held"
    total = state.balances[held] + amount
    return too_large(held, total) if total > LIMIT else None


def _sources(command: commands.OnCharge) -> list[str]:
    return [f"user:{command.user}:available"] + ([f"key:{command.key}:cap"] if command.capped else [])


def _spendable(state: State, command: commands.OnCharge, account: str) -> int:
    """Mills above the floor: nothing for a key, the credit limit below nothing for a user."""
    return state.balances[account] + (state.credit[command.user] if account.startswith("user:") else 0)


def _set_aside(state: State, command: commands.OnCharge, amount: int) -> None:
    state.move(f"user:{command.user}:available", f"user:{command.user}:held", amount)
    if command.capped:
        state.move(f"key:{command.key}:cap", f"key:{command.key}:cap_held", amount)


def _give_back(state: State, charge: Charge) -> None:
    _set_aside(state, charge.hold, -charge.held)


def _pay(state: State, command: commands.Settle, reserved: int) -> int:
    """Pay from what was just given back (`reserved`), and beyond it only from what lies above the floors without it."""
    beyond = min(max(0, _spendable(state, command, account) - reserved) for account in _sources(command))
    if command.user in state.frozen:
        beyond = 0
    paid = min(command.cost, reserved + beyond)
    state.move(f"user:{command.user}:available", "platform:revenue", paid)
    state.move("platform:writeoff", "platform:revenue", command.cost - paid)
    if command.capped:
        state.move(f"key:{command.key}:cap", f"key:{command.key}:cap_spent", paid)
    return paid


def _not_open(charge: Charge | None, command: commands.EndCharge) -> Answer | None:
    if charge is None:
        return Answer("not_found")
    if charge.end:
        return Answer(f"already_{charge.end}")
    if charge.payer != (command.user, command.key, command.capped):
        return Answer("invalid")
    if command.extensions != len(charge.extensions):
        return Answer("stale")
    return None


def _end_free(state: State, command: commands.EndCharge, end: str) -> Answer:
    charge = state.charges.get(command.charge)
    if charge is not None and charge.end == end:
        return Answer("exists")
    refused = _not_open(charge, command)
    if refused is not None:
        return refused
    assert charge is not None, "only a charge that is there can be open"
    _give_back(state, charge)
    charge.end = end
    return Answer("created")


def _settle_late(state: State, charge: Charge, command: commands.Settle) -> Answer:
    if charge.late is not None:
        return Answer("exists" if same_bill(charge.late, command) else "exists_with_different")
    if charge.payer != (command.user, command.key, command.capped):
        return Answer("invalid")
    charge.paid = _pay(state, command, 0)
    charge.late = command
    return Answer("created")


def _refund(state: State, command: commands.Refund) -> Answer:
    charge = state.charges.get(command.charge)
    if charge is None or charge.bill is None:
        return Answer("not_found")
    if charge.payer != (command.user, command.key, command.capped):
        return Answer("invalid")
    left, given = charge.refundable, charge.refunds.get(command.command_key)
    if given is not None:
        is_that = left == 0 if command.amount is None else command.amount == given
        return Answer("exists", needed=given, available=left) if is_that else Answer("exists_with_different")
    amount = left if command.amount is None else command.amount
    if command.amount is None and left == 0:
        return Answer("unchanged")
    if amount <= 0:
        return Answer("invalid")
    if amount > left:
        return Answer("insufficient", needed=amount, available=left)
    full = state.full(command.user, amount) or _full_key(state, command, amount)
    if full is not None:
        return full
    state.move("platform:revenue", f"user:{command.user}:available", amount)
    if command.capped:
        state.move(f"key:{command.key}:cap_spent", f"key:{command.key}:cap", amount)
    charge.refunds[command.command_key] = amount
    return Answer("created", needed=amount, available=left - amount)


def _full_key(state: State, command: commands.Refund, amount: int) -> Answer | None:
    if not command.capped:
        return None
    cap = f"key:{command.key}:cap"
    total = state.balances[cap] + state.balances[f"key:{command.key}:cap_held"] + amount
    return too_large(cap, total) if total > LIMIT else None


def _bill(command: commands.Settle) -> tuple[object, ...]:
    return command.user, command.key, command.capped, command.cost, command.usage, command.price


def _same_task(first: commands.Accept, again: commands.Accept) -> bool:
    return same_bill(first, again) and all(
        getattr(first, name) == getattr(again, name)
        for name in ("charge", "kind", "channel", "upstream_task_id", "task_ttl_ms")
    )
