"""An API key: what a program spends a user's quota with. Its text is in the vault; the relay knows it by its HMAC."""

from collections.abc import Iterable
from enum import IntEnum

import msgspec

from domain import events, streams
from domain.commands import Append, Part, Register, VaultPut
from domain.events import Fact, KeyTerms


class Status(IntEnum):
    ENABLED = 1
    DISABLED = 2
    EXPIRED = 3
    EXHAUSTED = 4


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the facts so far have left it."""

    id: int
    user: int
    digest: str
    secret: str
    terms: KeyTerms
    unlimited: bool = True
    status: int = Status.ENABLED
    created_at: int = 0
    deleted: bool = False

    def is_expired(self, now_s: float) -> bool:
        return self.terms.expires_at != -1 and self.terms.expires_at <= now_s


def after(key: ApiKey | None, fact: Fact) -> ApiKey | None:
    """The key once `fact` has happened; unchanged by facts that are not about keys."""
    match fact:
        case events.KeyCreated():
            return ApiKey(
                id=fact.id,
                user=fact.user,
                digest=fact.digest,
                secret=fact.secret,
                terms=fact.terms,
                unlimited=fact.unlimited,
                status=fact.status,
                created_at=fact.at,
            )
        case events.KeyTermsChanged() if key:
            return msgspec.structs.replace(key, terms=fact.terms)
        case events.KeyLimitChanged() if key:
            return msgspec.structs.replace(key, unlimited=fact.unlimited)
        case events.KeyStatusChanged() if key:
            return msgspec.structs.replace(key, status=fact.status)
        case events.KeyDeleted() if key:
            return msgspec.structs.replace(key, deleted=True)
    return key


def from_facts(facts: Iterable[Fact]) -> ApiKey | None:
    key: ApiKey | None = None
    for fact in facts:
        key = after(key, fact)
    return key


def creation(
    *,
    user: int,
    digest: str,
    secret: VaultPut,
    terms: KeyTerms,
    limit_mills: int | None,
    status: int = Status.ENABLED,
    actor: int = 0,
    token: str = "",
) -> Register:
    """Register a key. `digest` is the HMAC of its text; `limit_mills` what it may spend, None for no limit."""
    fact = events.KeyCreated(
        user=user,
        digest=digest,
        secret=secret.ref,
        terms=terms,
        unlimited=limit_mills is None,
        status=status,
        actor=actor,
    )
    return Register(kind="key", created=fact, limit=limit_mills, vault=(secret,), token=token)


def terms_change(key: ApiKey, version: int, terms: KeyTerms, *, actor: int = 0) -> Append:
    fact = events.KeyTermsChanged(id=key.id, terms=terms, actor=actor)
    return Append(parts=(Part(streams.key(key.id), version, (fact,)),))


def status_change(key: ApiKey, version: int, status: int, *, actor: int = 0) -> Append:
    fact = events.KeyStatusChanged(id=key.id, status=status, actor=actor)
    return Append(parts=(Part(streams.key(key.id), version, (fact,)),))


def deletion(key: ApiKey, *, actor: int = 0) -> Append:
    """The key opens nothing any more, and its text leaves the vault."""
    part = Part(streams.key(key.id), None, (events.KeyDeleted(id=key.id, actor=actor),))
    return Append(parts=(part,), vault_delete=(key.secret,))
