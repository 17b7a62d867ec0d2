"""Commands on a charge. Each locks the payer's accounts, which serialises all commands on that charge."""

from domain import accounts, streams
from domain.commands.command import Command
from domain.pricing import Price
from domain.streams import StreamId
from domain.usage import Usage


class OnCharge(Command, frozen=True, kw_only=True):
    """A command on one charge: it locks the payer's accounts, which serialises all commands on that charge."""

    charge: StreamId
    user: int
    key: int
    capped: bool = False

    def accounts(self) -> tuple[str, ...]:
        names = (accounts.available(self.user), accounts.held(self.user))
        return (*names, accounts.cap(self.key), accounts.cap_held(self.key)) if self.capped else names


class Hold(OnCharge, frozen=True, kw_only=True):
    """Set `amount` aside before a call goes upstream."""

    model: str
    group: str
    prices: tuple[Price, ...]
    amount: int
    input_bound: int = 0
    output_bound: int = 0
    endpoint: str = ""
    stream: bool = False
    node: str
    epoch: str
    ttl_ms: int
    """From the commit to the deadline, by the ledger's clock."""
    client_request_id: str = ""

    def streams(self) -> tuple[StreamId, ...]:
        return (self.charge,)


class Extend(OnCharge, frozen=True, kw_only=True):
    """Set more aside for a stream that outgrows its hold; `n` counts from 1."""

    n: int
    amount: int

    def streams(self) -> tuple[StreamId, ...]:
        return (self.charge, streams.extension(self.charge, self.n), streams.extension(self.charge, self.n - 1))


class EndCharge(OnCharge, frozen=True, kw_only=True):
    """Ends a charge and its `extensions`; reads one stream more, so that an extension it does not know of is seen."""

    extensions: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (self.charge, *(streams.extension(self.charge, n) for n in range(1, self.extensions + 2)))


class Settle(EndCharge, frozen=True, kw_only=True):
    """The call is over and costs this much. After an expiry it is a late settlement."""

    model: str
    group: str
    price: Price
    usage: Usage
    cost: int
    ended_by: str
    basis: str = "upstream"
    endpoint: str = ""
    stream: bool = False
    channel: int = 0
    upstream_model: str = ""
    upstream_request_id: str = ""
    client_request_id: str = ""
    first_byte_ms: int = -1
    duration_ms: int = 0
    attempts: tuple[int, ...] = ()


class Release(EndCharge, frozen=True, kw_only=True):
    """The call costs nothing: give the hold back."""

    model: str = ""
    why: str
    endpoint: str = ""
    status: int = 0
    attempts: tuple[int, ...] = ()
    duration_ms: int = 0


class Expire(EndCharge, frozen=True, kw_only=True):
    """End the hold of a process that is gone. `dead_epoch`: it is known dead; else only after the deadline."""

    node: str
    dead_epoch: bool = False


class Refund(OnCharge, frozen=True, kw_only=True):
    """Give back `amount` mills of what was paid; None: all that is left of it. Once for every command key of a charge."""

    command_key: str
    amount: int | None = None
    reason: str = ""
    actor: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (self.charge,)
