"""An API key as the API shows one: the family's fields, its text masked except where its owner asks for it.

A status of 1 is shown as 3 once the key has expired and as 4 once its limit is used up; neither has to be written by anybody.
"""

import ipaddress
from time import time

from pydantic import BaseModel, Field

from api.admin.amounts import Mills
from api.admin.people import balance_mills
from api.admin.refusals import Invalid, invalid
from api.admin.services import Services
from domain import accounts
from domain.api_key import ApiKey, Status
from domain.events import KeyTerms
from domain.units import quota_floored, quota_rounded
from projections.keys import KeyRow

PREFIX = "sk-"
NEVER = -1
MAX_NAME_CHARS = 64
MAX_LISTED = 1_000
MAX_LIST_CHARS = 65_536


class TokenShape(BaseModel):
    """A key. The family calls it token."""

    id: int
    user_id: int
    key: str = Field(description="`sk-` and 48 characters; in lists only their ends")
    status: int = Field(description="1 enabled, 2 disabled, 3 expired, 4 exhausted")
    name: str
    created_time: int = Field(description="seconds since the epoch")
    accessed_time: int = Field(description="seconds since the epoch of its last charge; 0: never")
    expired_time: int = Field(description="seconds since the epoch; -1: never")
    remain_quota: int = Field(description="what it may still spend, rounded down; 0 for an unlimited key")
    remain_quota_mills: Mills
    unlimited_quota: bool
    model_limits_enabled: bool
    model_limits: str = Field(description="names of models, with commas between them")
    allow_ips: str = Field(description="addresses, one a line; empty: any")
    used_quota: int = Field(description="what was charged, rounded half up from the exact sum")
    used_quota_mills: Mills
    group: str
    DeletedAt: None = None


def masked(text: str) -> str:
    """Enough of a key's text to tell it from its sisters; "" when the text was erased."""
    return f"{PREFIX}{text[:4]}...{text[-4:]}" if text else ""


def whole(text: str) -> str:
    return PREFIX + text if text else ""


def of_row(site: Services, row: KeyRow, key: str) -> TokenShape:
    """A key from the read model, with its text as it shall be shown."""
    terms = KeyTerms(
        name=row.name,
        expires_at=row.expires_at,
        model_limits_enabled=row.model_limits_enabled,
        model_limits=row.model_limits,
        allow_ips=row.allow_ips,
        group=row.group,
    )
    known = ApiKey(
        id=row.id,
        user=row.user_id,
        digest=row.digest,
        secret=row.secret_ref,
        terms=terms,
        unlimited=row.unlimited,
        status=row.status,
        created_at=row.created_at,
    )
    return of_key(site, known, key, used_mills=row.used_mills, accessed_at=row.accessed_at)


def of_key(site: Services, found: ApiKey, key: str, *, used_mills: int = 0, accessed_at: int = 0) -> TokenShape:
    """A key from its facts; `used_mills` and `accessed_at` (ms) are the read model's."""
    left = 0 if found.unlimited else balance_mills(site, accounts.cap(found.id))
    terms = found.terms
    return TokenShape(
        id=found.id,
        user_id=found.user,
        key=key,
        status=shown_status(found, left),
        name=terms.name,
        created_time=found.created_at // 1000,
        accessed_time=accessed_at // 1000,
        expired_time=terms.expires_at,
        remain_quota=quota_floored(left),
        remain_quota_mills=str(left),
        unlimited_quota=found.unlimited,
        model_limits_enabled=terms.model_limits_enabled,
        model_limits=",".join(terms.model_limits),
        allow_ips="\n".join(terms.allow_ips),
        used_quota=quota_rounded(used_mills),
        used_quota_mills=str(used_mills),
        group=terms.group,
    )


def shown_status(found: ApiKey, left_mills: int) -> int:
    if found.status != Status.ENABLED:
        return found.status
    if found.is_expired(time()):
        return Status.EXPIRED
    return Status.ENABLED if found.unlimited or left_mills > 0 else Status.EXHAUSTED


def check_name(name: str) -> str:
    """What its owner calls a key. Raises Invalid."""
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise invalid("name", f"at most {MAX_NAME_CHARS} printable characters", name)
    return name


def expiry(expired_time: int) -> int:
    """Seconds since the epoch, or NEVER; 0 is never too, as in the family. Raises Invalid."""
    if expired_time < NEVER:
        raise invalid("expired_time", "seconds since the epoch, or -1 for never", expired_time)
    return expired_time or NEVER


def models(text: str) -> tuple[str, ...]:
    """Names of models, in the order they were given, each once. Raises Invalid."""
    names = tuple(dict.fromkeys(name for part in text.replace("\n", ",").split(",") if (name := part.strip())))
    if len(names) > MAX_LISTED or any(len(name) > 255 or not name.isprintable() for name in names):
        raise Invalid(f"model_limits: expected at most {MAX_LISTED:,} names of models, with commas between them")
    return names


def addresses(text: str) -> tuple[str, ...]:
    """IP addresses and networks in their usual spelling.

    Raises Invalid for anything else: an entry that nobody can read must not leave the list empty, which opens every door.
    """
    found: dict[str, None] = {}
    for part in text.replace(",", " ").split():
        try:
            network = ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise invalid("allow_ips", "an IP address or network a line, such as 192.0.2.7", part) from None
        single = network.prefixlen == network.max_prefixlen
        found[str(network.network_address if single else network)] = None
    if len(found) > MAX_LISTED:
        raise Invalid(f"allow_ips: expected at most {MAX_LISTED:,} addresses, got {len(found):,}")
    return tuple(found)
