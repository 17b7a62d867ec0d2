"""Facts of a setting, one stream for each key."""

from typing import ClassVar

from domain.events.fact import Fact


class SettingChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "setting.changed/1"

    key: str
    value: str = ""
    secret: str = ""
    """Vault reference, for settings that are secrets; then `value` is empty."""
    actor: int = 0
