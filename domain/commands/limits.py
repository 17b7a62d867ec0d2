"""Commands that say how much may be spent: a key's limit, a user's credit limit, a freeze."""

from domain import accounts, streams
from domain.commands.command import Command
from domain.streams import StreamId


class LimitKey(Command, frozen=True, kw_only=True):
    """Set what a key may still spend to `target` mills, or change it by `delta`, or take the limit away."""

    key: int
    unlimited: bool = False
    target: int | None = None
    delta: int = 0
    command_key: str = ""
    """With one, the same change asked for again is found, and not made twice."""
    actor: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.key(self.key),)

    def accounts(self) -> tuple[str, ...]:
        return (accounts.cap(self.key), accounts.cap_held(self.key))


class OnStanding(Command, frozen=True, kw_only=True):
    """A command on how low a user's balance may go. It says what is to hold, so that sending it again changes nothing."""

    user: int
    reason: str = ""
    actor: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.user(self.user),)

    def accounts(self) -> tuple[str, ...]:
        return (accounts.available(self.user),)


class SetCreditLimit(OnStanding, frozen=True, kw_only=True):
    """Let a user spend `limit` mills below nothing; 0: prepaid."""

    limit: int


class Freeze(OnStanding, frozen=True, kw_only=True):
    """Hold nothing new for a user. What is open settles, credits still arrive."""


class Unfreeze(OnStanding, frozen=True, kw_only=True):
    """Let a frozen user spend again, down to the credit limit."""
