"""Facts about quota that is given, taken or moved, each on a stream named for what makes it happen once."""

from typing import ClassVar

from domain.events.fact import Fact


class QuotaAdjusted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "quota.adjusted/1"

    command_key: str
    user: int
    delta: int
    before: int
    """Mills available when it was decided."""
    seen: int | None = None
    """Whole quota that the admin saw when setting an absolute value, which makes it a difference; None: they named none."""
    reason: str = ""
    actor: int = 0


class QuotaGranted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Given by the platform: `signup`, or the `opening` of the first account."""

    TOPIC: ClassVar[str] = "quota.granted/1"

    user: int
    amount: int
    why: str
    actor: int = 0


class QuotaOpened(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What a user brought along from another gateway. May be negative: overdrafts exist there."""

    TOPIC: ClassVar[str] = "quota.opened/1"

    user: int
    amount: int
    invite: int = 0
    """Mills in the invite wallet."""
    used: int = 0
    """Mills spent there, and calls made: figures to show, not money."""
    calls: int = 0
    source: str
    """The fingerprint of the source and the row's key in it: together they happen once."""
    row: str
    digest: str
    """A hash over the row: another one for the same row is another opening, and refused."""
    actor: int = 0


class CheckedIn(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The daily reward, once for a user and a UTC day."""

    TOPIC: ClassVar[str] = "checkin.rewarded/1"

    user: int
    day: str
    """`2026-11-22`"""
    amount: int


class InviteRewarded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An inviter's bonus for one registration, into the invite wallet. Its stream is named for the invited user."""

    TOPIC: ClassVar[str] = "invite.rewarded/1"

    user: int
    invited: int
    amount: int


class InviteTransferred(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """From the invite wallet to what can be spent."""

    TOPIC: ClassVar[str] = "invite.transferred/1"

    command_key: str
    user: int
    amount: int


class InviteCodeClaimed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The text of an invite link belongs to this user, for ever."""

    TOPIC: ClassVar[str] = "invite_code.claimed/1"

    user: int


class RebateGranted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The inviter's share of what an invited user redeemed or paid. Its stream is named for the stream that it rewards."""

    TOPIC: ClassVar[str] = "rebate.granted/1"

    user: int
    invited: int
    amount: int
    source: str
    """The stream of the redemption or the payment."""
