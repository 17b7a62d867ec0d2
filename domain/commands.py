"""What one may ask of the ledger. A command names every stream and guarded account that its decision reads.

A command is atomic over all streams it names. One that has a name (a charge, a command key, a token, a reason) may be sent
again: the same gives `exists`, another under its name `exists_with_different`. `LimitKey` by delta and `Append` without expected
versions have none: whoever is not sure of their outcome reads the stream before it sends them again. Amounts are mills.
"""

from typing import ClassVar

import msgspec

from domain import accounts, streams
from domain.events import Fact, KeyCreated
from domain.pricing import Price
from domain.streams import StreamId
from domain.usage import Usage


class VaultPut(msgspec.Struct, frozen=True):
    """A secret, sealed by the vault, to be stored in the commit of the fact that names it."""

    ref: str
    sealed: bytes


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Something asked of the ledger."""

    vault: tuple[VaultPut, ...] = ()
    vault_delete: tuple[str, ...] = ()

    def streams(self) -> tuple[StreamId, ...]:
        """The streams whose history the decision reads."""
        raise AssertionError("every command names its streams")

    def accounts(self) -> tuple[str, ...]:
        """The guarded accounts whose balance the decision reads."""
        return ()

    @property
    def weight_bytes(self) -> int:
        """About how much it adds to a commit."""
        return 512 + sum(len(put.sealed) for put in self.vault)


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


class Adjust(Command, frozen=True, kw_only=True):
    """An admin's correction: by `delta`, or to `target` (whole quota; unchanged when the balance shows it already)."""

    command_key: str
    user: int
    delta: int | None = None
    target: int | None = None
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


class Register(Command, frozen=True, kw_only=True):
    """Create a user, key or channel: the next public id is assigned, and `claim` (a username's stream) is taken.

    `created` is the stream's first fact with id 0. `limit` (keys): mills the key may spend, None for no limit.
    `grant` (users): mills given at the start, for the reason `grant_why`. `owner`: the user stream that must be alive.
    """

    KINDS: ClassVar[tuple[str, ...]] = ("user", "key", "channel")

    kind: str
    created: Fact
    claim: StreamId = ""
    limit: int | None = None
    grant: int = 0
    grant_why: str = "signup"
    token: str = ""
    """Made by the caller for this command, so that sending it again cannot create a second one; "" if it may."""

    def streams(self) -> tuple[StreamId, ...]:
        names = [streams.named(f"register:{self.kind}:{self.token}")] if self.token else []
        if self.claim:
            names.append(self.claim)
        if isinstance(self.created, KeyCreated):
            names.append(streams.user(self.created.user))
        return tuple(names)

    def accounts(self) -> tuple[str, ...]:
        return (accounts.sequence(self.kind),)


class LimitKey(Command, frozen=True, kw_only=True):
    """Set what a key may still spend to `target` mills, or change it by `delta`, or take the limit away."""

    key: int
    unlimited: bool = False
    target: int | None = None
    delta: int = 0
    actor: int = 0

    def streams(self) -> tuple[StreamId, ...]:
        return (streams.key(self.key),)

    def accounts(self) -> tuple[str, ...]:
        return (accounts.cap(self.key), accounts.cap_held(self.key))


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
