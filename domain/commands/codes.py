"""Commands on redemption codes. Issuing one is `Register` with kind `code`."""

from domain import accounts, streams
from domain.commands.command import Command
from domain.commands.rebates import Rebated
from domain.events import CodeTerms
from domain.streams import StreamId


class RedeemCode(Rebated, frozen=True, kw_only=True):
    """Use a code, once for every user. Sent again it answers `exists`."""

    code: int

    def credited(self) -> StreamId:
        return streams.redemption(self.code, self.user)

    def streams(self) -> tuple[StreamId, ...]:
        return (self.credited(), streams.code(self.code), streams.user(self.user), *self.rebate_streams())

    def accounts(self) -> tuple[str, ...]:
        return (*super().accounts(), accounts.budget(self.code))


class OnCode(Command, frozen=True, kw_only=True):
    """A command on a code and its budget."""

    code: int
    actor: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.code(self.code),)

    def accounts(self) -> tuple[str, ...]:
        return (accounts.budget(self.code),)


class ChangeCode(OnCode, frozen=True, kw_only=True):
    """New terms for a code at version `expected` (None: wherever it is). The uses that are left get the new amount."""

    terms: CodeTerms
    expected: int | None = None


class DeleteCode(OnCode, frozen=True, kw_only=True):
    """The code opens nothing any more; what is left of its budget goes back."""
