"""What one may ask of the ledger. A command names every stream and guarded account that its decision reads.

A command is atomic over all streams it names. One that has a name (a charge, a command key, a token, a code and its user) may be
sent again: the same gives `exists`, another under its name `exists_with_different`. `LimitKey` by delta without a key and `Append`
without expected versions have none: whoever is not sure of their outcome reads the stream before sending them again. Amounts are mills.
"""

from domain.commands.charges import EndCharge, Expire, Extend, Hold, OnCharge, Refund, Release, Settle
from domain.commands.codes import ChangeCode, DeleteCode, OnCode, RedeemCode
from domain.commands.command import Command, VaultPut
from domain.commands.limits import Freeze, LimitKey, OnStanding, SetCreditLimit, Unfreeze
from domain.commands.quota import Adjust, CheckIn, Grant, Open, TransferInvite
from domain.commands.rebates import Rebated
from domain.commands.registry import Append, Part, Register
from domain.commands.tasks import Accept, EndTask
from domain.commands.topups import FailTopUp, InitiateTopUp, OnPayment, ResolveTopUp, ReverseTopUp, SettleTopUp

__all__ = [
    "Accept",
    "Adjust",
    "Append",
    "ChangeCode",
    "CheckIn",
    "Command",
    "DeleteCode",
    "EndCharge",
    "EndTask",
    "Expire",
    "Extend",
    "FailTopUp",
    "Freeze",
    "Grant",
    "Hold",
    "InitiateTopUp",
    "LimitKey",
    "OnCharge",
    "OnCode",
    "OnPayment",
    "OnStanding",
    "Open",
    "Part",
    "Rebated",
    "RedeemCode",
    "Refund",
    "Register",
    "Release",
    "ResolveTopUp",
    "ReverseTopUp",
    "SetCreditLimit",
    "Settle",
    "SettleTopUp",
    "TransferInvite",
    "Unfreeze",
    "VaultPut",
]
