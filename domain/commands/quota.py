"""Commands that give, take or move a user's quota. Each has a name that makes it happen once."""

from domain import accounts, streams
from domain.commands.command import Command
from domain.streams import StreamId


class Adjust(Command, frozen=True, kw_only=True):
    """An admin's correction: by `delta`, or to `target` (whole quota; unchanged when the balance shows it already)."""

    command_key: str
    user: int
    delta: int | None = None
    target: int | None = None
    seen: int | None = None
    """With a target: the whole quota that the admin saw, which makes it a difference that later movements keep."""
    reason: str = ""
    actor: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.adjustment(self.command_key), streams.user(self.user))

    def accounts(self) -> tuple[str, ...]:
        return (accounts.available(self.user), accounts.held(self.user))


class Grant(Command, frozen=True, kw_only=True):
    """Quota given by the platform, once for every (user, why)."""

    user: int
    amount: int
    why: str
    actor: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.grant(self.user, self.why), streams.user(self.user))

    def accounts(self) -> tuple[str, ...]:
        return (accounts.available(self.user), accounts.held(self.user))


class Open(Command, frozen=True, kw_only=True):
    """An opening balance from another gateway, once for every row of a source. `amount` may be negative."""

    user: int
    amount: int
    invite: int = 0
    used: int = 0
    calls: int = 0
    source: str
    row: str
    digest: str
    actor: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.opening(self.source, self.row), streams.user(self.user))

    def accounts(self) -> tuple[str, ...]:
        return (accounts.available(self.user), accounts.held(self.user), accounts.invite(self.user))


class CheckIn(Command, frozen=True, kw_only=True):
    """The daily reward of a user for `day`, which must be today by the ledger's clock, in UTC."""

    user: int
    day: str
    """`2026-11-22`"""
    amount: int

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.check_in(self.user, self.day), streams.user(self.user))

    def accounts(self) -> tuple[str, ...]:
        return (accounts.available(self.user), accounts.held(self.user))


class TransferInvite(Command, frozen=True, kw_only=True):
    """Move `amount` mills from the invite wallet to what can be spent."""

    command_key: str
    user: int
    amount: int

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.invite_transfer(self.command_key), streams.user(self.user))

    def accounts(self) -> tuple[str, ...]:
        return (accounts.available(self.user), accounts.held(self.user), accounts.invite(self.user))
