"""The ledger itself: `decide` turns commands, balances and history into facts. Nothing else may move quota.

A pure function: memory, SQLite, PostgreSQL, the simulator and the replay checker all run it. A refused command leaves no
trace and never spoils its batch; commands of one batch see what those before them did.
"""

from collections.abc import Callable, Mapping, Sequence

from domain import charges, commands, corrections, gift_code, gifts, refunds, registry, standing, task, topup
from domain.books import Books, Decision, Entry, Guard, Result, Status
from domain.commands import Command
from domain.events import Fact
from domain.streams import StreamId

__all__ = ["Decision", "Entry", "Guard", "Result", "Status", "decide"]


def decide(
    batch: Sequence[Command], balances: Mapping[str, Guard], history: Mapping[StreamId, Sequence[Fact]], now: int
) -> Decision:
    """Decide a batch of commands in their order.

    `balances` has the guarded accounts that the commands name (an absent one is at 0 with floor 0), `history` the facts of the
    streams they name, `now` the ledger's time in ms.
    """
    books = Books(balances, history, now)
    results = [RULES[type(command)](command, books) for command in batch]
    return Decision(results, books.entries, books.changed)


RULES: dict[type[Command], Callable[..., Result]] = {
    commands.Hold: charges.hold,
    commands.Extend: charges.extend,
    commands.Settle: charges.settle,
    commands.Release: charges.release,
    commands.Expire: charges.expire,
    commands.Adjust: corrections.adjust,
    commands.Grant: corrections.grant,
    commands.Register: registry.register,
    commands.LimitKey: registry.limit_key,
    commands.Append: registry.append,
    commands.Refund: refunds.refund,
    commands.Accept: task.accept,
    commands.EndTask: task.end,
    commands.Open: corrections.open_balance,
    commands.CheckIn: gifts.check_in,
    commands.TransferInvite: gifts.transfer_invite,
    commands.SetCreditLimit: standing.set_credit_limit,
    commands.Freeze: standing.freeze,
    commands.Unfreeze: standing.unfreeze,
    commands.RedeemCode: gift_code.redeem,
    commands.ChangeCode: gift_code.change,
    commands.DeleteCode: gift_code.delete,
    commands.InitiateTopUp: topup.initiate,
    commands.SettleTopUp: topup.settle,
    commands.ResolveTopUp: topup.resolve,
    commands.FailTopUp: topup.fail,
    commands.ReverseTopUp: topup.reverse,
}
