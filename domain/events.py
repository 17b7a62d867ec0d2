"""Every fact Veloera can record, stream by stream. Append only: a published fact never changes its meaning.

A fact is stored under its topic (`charge.settled/1`), free of module paths. New fields have defaults; a changed meaning is a
new topic. Amounts are integer mills, moments integer milliseconds since the epoch by the ledger's clock. Secrets and
personal data are in the vault; facts name them by reference.
"""

from typing import ClassVar

import msgspec

from domain.accounts import Posting
from domain.pricing import Price
from domain.usage import Usage


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to one stream."""

    TOPIC: ClassVar[str] = ""

    at: int = 0
    """When it was recorded, ms; set by the store's clock at commit."""
    postings: tuple[Posting, ...] = ()
    floors: tuple[tuple[str, int | None], ...] = ()
    """New floors of guarded accounts, in mills; None: no floor."""


# Charge: one stream per call. Version 1 holds, version 2 ends, later versions correct.


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


# Quota: one stream per adjustment or grant.


class QuotaAdjusted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "quota.adjusted/1"

    command_key: str
    user: int
    delta: int
    before: int
    """Mills available when it was decided."""
    reason: str = ""
    actor: int = 0


class QuotaGranted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Given by the platform: `signup`, or the `opening` of the first account."""

    TOPIC: ClassVar[str] = "quota.granted/1"

    user: int
    amount: int
    why: str
    actor: int = 0


# User: one stream each, and one for every username ever claimed.


class UserCreated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.created/1"

    id: int = 0
    profile: str
    """Vault reference: {"username", "display_name", "email"}."""
    password: str
    """Vault reference: the password's hash."""
    role: int = 1
    status: int = 1
    group: str = "default"
    claim: str
    """The HMAC of the username."""
    actor: int = 0


class UserProfileChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.profile_changed/1"

    id: int
    profile: str
    claim: str
    actor: int = 0


class UserPasswordChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.password_changed/1"

    id: int
    password: str
    actor: int = 0


class UserStandingChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Role (1 user, 10 admin, 100 root), status (1 enabled, 2 disabled) and group, as they are from now on."""

    TOPIC: ClassVar[str] = "user.standing_changed/1"

    id: int
    role: int
    status: int
    group: str
    actor: int = 0


class UserDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.deleted/1"

    id: int
    actor: int = 0


class AccessTokenMade(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A token for the JSON API; the newest one counts. `digest` is its HMAC."""

    TOPIC: ClassVar[str] = "user.access_token_made/1"

    id: int
    digest: str


class Registered(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A registration that carried a token was carried out, and gave this id. Its own stream: sent again, it is found."""

    TOPIC: ClassVar[str] = "id.registered/1"

    kind: str
    id: int


class UsernameClaimed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "username.claimed/1"

    user: int


class UsernameReleased(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "username.released/1"

    user: int


# API key.


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


# Channel: one upstream account.


class ChannelTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a channel is reached and when it is chosen. Field names are the family's."""

    type: int = 1
    name: str = ""
    base_url: str = ""
    models: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("default",)
    priority: int = 0
    weight: int = 0
    model_mapping: dict[str, str] = {}
    status_code_mapping: dict[str, str] = {}
    model_prefix: str = ""
    openai_organization: str = ""
    test_model: str = ""
    other: str = ""
    tag: str = ""
    auto_ban: bool = True
    setting: str = ""
    """JSON object text; "" when none."""
    param_override: str = ""
    """JSON object text; "" when none."""


class ChannelCreated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "channel.created/1"

    id: int = 0
    terms: ChannelTerms
    secret: str
    """Vault reference: the upstream credential."""
    status: int = 1
    actor: int = 0


class ChannelChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "channel.changed/1"

    id: int
    terms: ChannelTerms
    secret: str
    actor: int = 0


class ChannelStatusChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """1 enabled, 2 switched off by a person, 3 switched off by the gateway."""

    TOPIC: ClassVar[str] = "channel.status_changed/1"

    id: int
    status: int
    reason: str = ""
    actor: int = 0


class ChannelKeyShown(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "channel.key_shown/1"

    id: int
    actor: int


class ChannelDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "channel.deleted/1"

    id: int
    actor: int = 0


# Setting: one stream per key.


class SettingChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "setting.changed/1"

    key: str
    value: str = ""
    secret: str = ""
    """Vault reference, for settings that are secrets; then `value` is empty."""
    actor: int = 0


TOPICS: dict[str, type[Fact]] = {fact.TOPIC: fact for fact in Fact.__subclasses__()}
"""Every fact by the name it is stored under."""
assert len(TOPICS) == len(Fact.__subclasses__()), "two facts are stored under one name"
