"""Facts of a payment, one stream for a provider's trade number: ordered, then paid or failed, perhaps reversed.

What does not fit its order is flagged and moves nothing, until a person resolves it.
"""

from typing import ClassVar

from domain.events.fact import Fact


class TopUpInitiated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An order was placed: this much money will buy this much quota, whatever prices become."""

    TOPIC: ClassVar[str] = "topup.initiated/1"

    provider: str
    trade: str
    user: int
    amount: int
    """Mills that are credited when it is paid."""
    money_minor: int
    """In the smallest unit of the currency."""
    currency: str
    method: str = ""


class TopUpSettled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "topup.settled/1"

    provider: str
    trade: str
    user: int
    amount: int
    money_minor: int
    currency: str
    provider_event: str = ""
    """The provider's own id of the payment."""
    actor: int = 0
    """Who resolved a flagged payment by hand; 0: it fitted its order."""
    reason: str = ""


class TopUpFailed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "topup.failed/1"

    provider: str
    trade: str
    user: int
    why: str = ""


class TopUpFlagged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Money arrived that does not fit: `unknown_order`, `amount`, `currency` or `user_deleted`. A person has to look."""

    TOPIC: ClassVar[str] = "topup.flagged/1"

    provider: str
    trade: str
    user: int = 0
    money_minor: int
    currency: str
    provider_event: str = ""
    why: str


class TopUpReversed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The money went back: a refund by the provider or a chargeback. May leave the user below the floor: that is a debt."""

    TOPIC: ClassVar[str] = "topup.reversed/1"

    command_key: str
    provider: str
    trade: str
    user: int
    amount: int
    reason: str = ""
    actor: int = 0
