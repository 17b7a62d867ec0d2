"""Commands on a payment, named by its provider and the provider's trade number: however often a notice comes, it counts once."""

from domain import streams
from domain.commands.command import Command
from domain.commands.rebates import Rebated
from domain.streams import StreamId


class InitiateTopUp(Command, frozen=True, kw_only=True):
    """Place an order: `money_minor` of `currency` will buy `amount` mills."""

    provider: str
    trade: str
    user: int
    amount: int
    money_minor: int
    currency: str
    method: str = ""

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.payment(self.provider, self.trade), streams.user(self.user))


class OnPayment(Rebated, frozen=True, kw_only=True):
    """A command on a payment; `user` as its order says, 0 where there is no order."""

    provider: str
    trade: str

    def credited(self) -> StreamId:
        return streams.payment(self.provider, self.trade)

    def streams(self) -> tuple[StreamId, ...]:
        return (self.credited(), streams.user(self.user), *self.rebate_streams())

    def accounts(self) -> tuple[str, ...]:
        return super().accounts() if self.user else ()


class SettleTopUp(OnPayment, frozen=True, kw_only=True):
    """The provider says that it was paid. What does not fit its order is flagged (`flagged`) and credits nothing."""

    money_minor: int
    currency: str
    provider_event: str = ""


class ResolveTopUp(OnPayment, frozen=True, kw_only=True):
    """An admin credits a flagged payment to a user by hand."""

    amount: int
    reason: str
    actor: int


class FailTopUp(OnPayment, frozen=True, kw_only=True):
    """The provider says that it will not be paid. A payment that arrives after all is credited."""

    why: str = ""


class ReverseTopUp(OnPayment, frozen=True, kw_only=True):
    """The money went back. Takes `amount` mills, None: all that is left of the credit, even below the floor."""

    command_key: str
    amount: int | None = None
    reason: str = ""
    actor: int = 0
