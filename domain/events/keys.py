"""Facts of an API key."""

from typing import ClassVar

import msgspec

from domain.events.fact import Fact


class KeyTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key may do, apart from its limit."""

    name: str = ""
    expires_at: int = -1
    """Seconds since the epoch; -1: never."""
    model_limits_enabled: bool = False
    model_limits: tuple[str, ...] = ()
    allow_ips: tuple[str, ...] = ()
    group: str = ""
    """Empty: the user's own group."""


class KeyCreated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "key.created/1"

    id: int = 0
    user: int
    digest: str
    """HMAC of the key's text, hex: how the relay finds it."""
    secret: str
    """Vault reference: the key's text, for its owner."""
    terms: KeyTerms
    unlimited: bool = True
    status: int = 1
    actor: int = 0


class KeyTermsChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "key.terms_changed/1"

    id: int
    terms: KeyTerms
    actor: int = 0


class KeyLimitChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The limit was set, moved or taken away; the postings carry the difference."""

    TOPIC: ClassVar[str] = "key.limit_changed/1"

    id: int
    unlimited: bool
    delta: int
    target: int | None = None
    """Mills that were asked for; None where a difference was asked for, or no limit."""
    command_key: str = ""
    """Who asks with one may ask again; "" where only the outcome counts."""
    actor: int = 0


class KeyStatusChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "key.status_changed/1"

    id: int
    status: int
    actor: int = 0


class KeyDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "key.deleted/1"

    id: int
    actor: int = 0
