"""Commands that create and change users, keys, channels, codes and settings."""

from typing import ClassVar

import msgspec

from domain import accounts, streams
from domain.commands.command import Command
from domain.events import Fact, KeyCreated, UserCreated
from domain.streams import StreamId


class Register(Command, frozen=True, kw_only=True):
    """Create a user, key, channel or code: the next public id is assigned, and `claim` (the stream of a name) is taken.

    `created` is the stream's first fact with id 0. `limit` (keys): mills the key may spend, None for no limit.
    `grant` (users): mills given at the start, for the reason `grant_why`. An invited user gets `invited_bonus` beside it, and the
    inviter `inviter_bonus` into the invite wallet. Issuing a code funds its budget.
    """

    KINDS: ClassVar[tuple[str, ...]] = ("user", "key", "channel", "code")

    kind: str
    created: Fact
    claim: StreamId = ""
    limit: int | None = None
    grant: int = 0
    grant_why: str = "signup"
    invited_bonus: int = 0
    inviter_bonus: int = 0
    token: str = ""
    """Made by the caller for this command, so that sending it again cannot create a second one; "" if it may."""

    def streams(self) -> tuple[StreamId, ...]:
        names = [streams.named(f"register:{self.kind}:{self.token}")] if self.token else []
        if self.claim:
            names.append(self.claim)
        if isinstance(self.created, KeyCreated):
            names.append(streams.user(self.created.user))
        if self.inviter:
            names.append(streams.user(self.inviter))
        return tuple(names)

    def accounts(self) -> tuple[str, ...]:
        counter = accounts.sequence(self.kind)
        return (counter, accounts.invite(self.inviter)) if self.inviter else (counter,)

    @property
    def inviter(self) -> int:
        """Who invited the user that is created; 0: nobody."""
        return self.created.inviter if isinstance(self.created, UserCreated) else 0


class Part(msgspec.Struct, frozen=True):
    """Facts for one stream, which must be at version `expected` (None: wherever it is)."""

    stream: StreamId
    expected: int | None
    facts: tuple[Fact, ...]


class Append(Command, frozen=True, kw_only=True):
    """Record facts on small streams, all or nothing. `claim`/`user`: the username stream that must be free for that user."""

    parts: tuple[Part, ...]
    claim: StreamId = ""
    user: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        names = tuple(part.stream for part in self.parts)
        return (*names, self.claim) if self.claim and self.claim not in names else names
