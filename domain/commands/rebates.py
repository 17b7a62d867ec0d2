"""What a credit brings its user's inviter, in the same commit: a rebate that can neither be lost nor come twice."""

from domain import accounts, streams
from domain.commands.command import Command
from domain.streams import StreamId


class Rebated(Command, frozen=True, kw_only=True):
    """A credit to `user`. An inviter who is deleted, or whose account is full, gets nothing; the credit stands."""

    user: int
    inviter: int = 0
    rebate: int = 0
    """Mills for the inviter; 0: none."""

    def credited(self) -> StreamId:
        """The stream whose credit is rewarded; it names the rebate's."""
        raise AssertionError("every credit has a stream")

    def rebate_streams(self) -> tuple[StreamId, ...]:
        if not self.rebate:
            return ()
        return (streams.user(self.inviter), streams.rebate(self.credited()))

    def accounts(self) -> tuple[str, ...]:
        names = (accounts.available(self.user), accounts.held(self.user))
        if not self.rebate or self.inviter == self.user:
            return names
        return (*names, accounts.available(self.inviter), accounts.held(self.inviter))
