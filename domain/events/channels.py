"""Facts of a channel: one upstream account."""

from typing import ClassVar

import msgspec

from domain.events.fact import Fact


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
