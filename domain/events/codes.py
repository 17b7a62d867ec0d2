"""Facts of a redemption code: issued with a budget, changed, used once by a user, deleted with what is left given back.

An ordinary code has one use; a gift code has many or no bound, one for each user.
"""

from typing import ClassVar

import msgspec

from domain.events.fact import Fact


class CodeTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a code gives, and when."""

    name: str = ""
    amount: int = 0
    """Mills for each use."""
    valid_from: int = 0
    valid_until: int = 0
    """Seconds since the epoch, both inclusive; 0: no bound."""


class CodeIssued(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "code.issued/1"

    id: int = 0
    digest: str
    """HMAC of the code's text, hex."""
    secret: str
    """Vault reference: the code's text, for who issued it."""
    terms: CodeTerms
    gift: bool = False
    max_uses: int | None = 1
    """None: no bound (gift codes)."""
    status: int = 1
    actor: int = 0


class CodeChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """New terms. `delta` mills went into the budget, so that the uses that are left are paid for at the new amount."""

    TOPIC: ClassVar[str] = "code.changed/1"

    id: int
    terms: CodeTerms
    delta: int = 0
    actor: int = 0


class CodeStatusChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """1 enabled, 2 disabled: refused, whatever kind of code it is."""

    TOPIC: ClassVar[str] = "code.status_changed/1"

    id: int
    status: int
    actor: int = 0


class CodeDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "code.deleted/1"

    id: int
    rest: int = 0
    """Mills that were left in the budget."""
    actor: int = 0


class CodeTextClaimed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A code's text belongs to one code for ever: a deleted code's text does not open another."""

    TOPIC: ClassVar[str] = "code_text.claimed/1"

    code: int


class CodeRedeemed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Its stream is named for the code and the user, so that nobody uses a code twice."""

    TOPIC: ClassVar[str] = "code.redeemed/1"

    code: int
    user: int
    amount: int
