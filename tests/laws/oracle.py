"""What the ledger must answer, written a second time from what was promised: one command at a time, no fact and no posting.

It shares with the ledger only the types of commands, usages and prices, and the names of accounts and streams.
"""

from __future__ import annotations

from collections.abc import Callable

from domain import commands
from domain.commands import Command
from tests.laws import oracle_charges, oracle_codes, oracle_payments, oracle_quota, oracle_registry
from tests.laws.oracle_state import LIMIT, Answer, Charge, State

__all__ = ["LIMIT", "RULES", "Answer", "Charge", "Oracle"]


class Oracle(State):
    """A ledger that is slow, obvious and never written to disk."""

    def answer(self, command: Command, now: int) -> Answer:
        return RULES[type(command)](self, command, now)


RULES: dict[type[Command], Callable[..., Answer]] = {
    commands.Hold: oracle_charges.hold,
    commands.Extend: oracle_charges.extend,
    commands.Settle: oracle_charges.settle,
    commands.Release: oracle_charges.release,
    commands.Expire: oracle_charges.expire,
    commands.Refund: oracle_charges.refund,
    commands.Accept: oracle_charges.accept,
    commands.EndTask: oracle_charges.end_task,
    commands.Adjust: oracle_quota.adjust,
    commands.Grant: oracle_quota.grant,
    commands.Open: oracle_quota.open_balance,
    commands.CheckIn: oracle_quota.check_in,
    commands.TransferInvite: oracle_quota.transfer_invite,
    commands.SetCreditLimit: oracle_quota.set_credit_limit,
    commands.Freeze: oracle_quota.freeze,
    commands.Unfreeze: oracle_quota.unfreeze,
    commands.RedeemCode: oracle_codes.redeem,
    commands.ChangeCode: oracle_codes.change,
    commands.DeleteCode: oracle_codes.delete,
    commands.InitiateTopUp: oracle_payments.initiate,
    commands.SettleTopUp: oracle_payments.settle,
    commands.ResolveTopUp: oracle_payments.resolve,
    commands.FailTopUp: oracle_payments.fail,
    commands.ReverseTopUp: oracle_payments.reverse,
    commands.Register: oracle_registry.register,
    commands.LimitKey: oracle_registry.limit_key,
    commands.Append: oracle_registry.append,
}
