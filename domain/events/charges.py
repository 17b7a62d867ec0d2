"""Facts of a charge, one stream a call: version 1 holds, version 2 ends, later versions correct."""

from typing import ClassVar

from domain.events.fact import Fact
from domain.pricing import Price
from domain.usage import Usage


class ChargeHeld(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "charge.held/1"

    user: int
    key: int
    capped: bool = False
    """True when the key has a limit, so that the hold also moved its allowance."""
    model: str
    group: str
    prices: tuple[Price, ...]
    """The prices pinned for this call: one for each name it may be billed under (usually one)."""
    amount: int
    """Mills held."""
    input_bound: int = 0
    output_bound: int = 0
    endpoint: str = ""
    stream: bool = False
    node: str
    epoch: str
    deadline: int
    """ms; after it the reaper may end the hold."""
    client_request_id: str = ""


class ChargeExtended(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A stream outgrew its hold; `n` counts from 1. Its own stream, so that version 2 of the charge stays the end."""

    TOPIC: ClassVar[str] = "charge.extended/1"

    charge: str
    n: int
    user: int
    key: int
    capped: bool = False
    amount: int


class ChargeSettled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "charge.settled/1"

    user: int
    key: int
    capped: bool = False
    model: str
    group: str
    price: Price
    usage: Usage
    cost: int
    """Mills: the price of the usage, rounded once."""
    paid: int
    written_off: int = 0
    held: int
    """Mills that were held, extensions included."""
    ended_by: str
    """`complete`, `client_left`, `upstream_cut`, `upstream_timeout`, `quota_end`, `shutdown`, `empty`."""
    basis: str = "upstream"
    """Whose count the usage is: `upstream`, `counted`, or `none` where nothing is charged."""
    endpoint: str = ""
    stream: bool = False
    channel: int = 0
    upstream_model: str = ""
    upstream_request_id: str = ""
    client_request_id: str = ""
    first_byte_ms: int = -1
    duration_ms: int = 0
    attempts: tuple[int, ...] = ()
    """Channels tried, in order; the last one answered."""


class ChargeReleased(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "charge.released/1"

    user: int
    key: int
    capped: bool = False
    model: str = ""
    held: int
    why: str
    """`upstream_failed`, `client_left`, `refused`, `shutdown`, `invalid_answer`."""
    endpoint: str = ""
    status: int = 0
    """The HTTP status that the client got; 0 when it had left."""
    attempts: tuple[int, ...] = ()
    duration_ms: int = 0


class ChargeExpired(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The process died or lost the call: the user gets everything back."""

    TOPIC: ClassVar[str] = "charge.expired/1"

    user: int
    key: int
    capped: bool = False
    held: int
    node: str
    """Who ended it."""
    why: str
    """`dead_epoch` or `deadline`."""


class ChargeSettledLate(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A settlement that came after its hold had expired: taken from what is available, the rest written off."""

    TOPIC: ClassVar[str] = "charge.settled_late/1"

    command_key: str
    user: int
    key: int
    capped: bool = False
    model: str
    group: str
    price: Price
    usage: Usage
    cost: int
    paid: int
    written_off: int = 0
    ended_by: str
    basis: str = "upstream"
    endpoint: str = ""
    stream: bool = False
    channel: int = 0
    upstream_model: str = ""
    upstream_request_id: str = ""


class ChargeRefunded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Part or all of what was paid goes back, to the key's allowance as well. The refunds of a charge never pass what it paid."""

    TOPIC: ClassVar[str] = "charge.refunded/1"

    command_key: str
    user: int
    key: int
    capped: bool = False
    amount: int
    reason: str = ""
    actor: int = 0
