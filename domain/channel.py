"""A channel: one upstream account, the models it serves and the groups it serves them to. Its credential is in the vault."""

from collections.abc import Iterable
from enum import IntEnum

import msgspec

from domain import events, streams
from domain.commands import Append, Part, Register, VaultPut
from domain.events import ChannelTerms, Fact

MAX_MODEL_NAME_BYTES = 255
MAX_MODELS = 10_000


class Status(IntEnum):
    ENABLED = 1
    SWITCHED_OFF = 2
    FAILED = 3


class Type(IntEnum):
    """The family's numbers; only those that this release serves are named."""

    OPENAI = 1
    CUSTOM = 8
    SANDBOX = 1001
    """Ours: answers from a seeded text generator, for trying clients without spending."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as the facts so far have left it."""

    id: int
    terms: ChannelTerms
    secret: str
    status: int = Status.ENABLED
    status_reason: str = ""
    created_at: int = 0
    deleted: bool = False

    @property
    def is_enabled(self) -> bool:
        return self.status == Status.ENABLED and not self.deleted


def after(channel: Channel | None, fact: Fact) -> Channel | None:
    """The channel once `fact` has happened; unchanged by facts that are not about channels."""
    match fact:
        case events.ChannelCreated():
            return Channel(id=fact.id, terms=fact.terms, secret=fact.secret, status=fact.status, created_at=fact.at)
        case events.ChannelChanged() if channel:
            return msgspec.structs.replace(channel, terms=fact.terms, secret=fact.secret)
        case events.ChannelStatusChanged() if channel:
            return msgspec.structs.replace(channel, status=fact.status, status_reason=fact.reason)
        case events.ChannelDeleted() if channel:
            return msgspec.structs.replace(channel, deleted=True)
    return channel


def from_facts(facts: Iterable[Fact]) -> Channel | None:
    channel: Channel | None = None
    for fact in facts:
        channel = after(channel, fact)
    return channel


def creation(
    *, terms: ChannelTerms, secret: VaultPut, status: int = Status.ENABLED, actor: int = 0, token: str = ""
) -> Register:
    fact = events.ChannelCreated(terms=terms, secret=secret.ref, status=status, actor=actor)
    return Register(kind="channel", created=fact, vault=(secret,), token=token)


def change(
    channel: Channel, version: int, *, terms: ChannelTerms, secret: VaultPut | None = None, actor: int = 0
) -> Append:
    """New terms, and a new credential where one is given (the old one leaves the vault)."""
    fact = events.ChannelChanged(
        id=channel.id, terms=terms, secret=secret.ref if secret else channel.secret, actor=actor
    )
    return Append(
        parts=(Part(streams.channel(channel.id), version, (fact,)),),
        vault=(secret,) if secret else (),
        vault_delete=(channel.secret,) if secret else (),
    )


def status_change(channel: Channel, version: int, status: int, *, reason: str = "", actor: int = 0) -> Append:
    fact = events.ChannelStatusChanged(id=channel.id, status=status, reason=reason, actor=actor)
    return Append(parts=(Part(streams.channel(channel.id), version, (fact,)),))


def showing(channel: Channel, *, actor: int) -> Append:
    """An admin looked at the credential: that is a fact."""
    fact = events.ChannelKeyShown(id=channel.id, actor=actor)
    return Append(parts=(Part(streams.channel(channel.id), None, (fact,)),))


def deletion(channel: Channel, *, actor: int = 0) -> Append:
    part = Part(streams.channel(channel.id), None, (events.ChannelDeleted(id=channel.id, actor=actor),))
    return Append(parts=(part,), vault_delete=(channel.secret,))
