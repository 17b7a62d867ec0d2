"""Another command under the same name: what it is about is changed, what it is called is not."""

from __future__ import annotations

import msgspec

from domain import commands
from domain.commands import Command

AMOUNTS: dict[type[Command], str] = {
    commands.Accept: "cost",
    commands.Settle: "cost",
    commands.SettleTopUp: "money_minor",
    commands.RedeemCode: "rebate",
    commands.SetCreditLimit: "limit",
}
"""Where the amount of a command is not called one."""


def altered(command: Command, amount: int) -> Command:
    """The same command about another amount; one that has nothing to alter comes back as it is."""
    match command:
        case commands.EndTask():
            return msgspec.structs.replace(command, outcome="failed" if command.outcome == "succeeded" else "succeeded")
        case commands.Adjust() | commands.LimitKey(unlimited=False):
            name = "target" if command.target is not None else "delta"
        case _:
            name = AMOUNTS.get(type(command), "amount")
    return msgspec.structs.replace(command, **{name: amount}) if name in command.__struct_fields__ else command


def is_named(command: Command) -> bool:
    """Whether it has a name under which it is found again however much later, once its effect stands."""
    match command:
        case commands.Register():
            return bool(command.token)
        case commands.LimitKey():
            return bool(command.command_key)
        case commands.OnStanding() | commands.ChangeCode() | commands.Append():
            return False
    return True
