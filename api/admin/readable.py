"""Options as this API reads them: a stored text that its kind cannot read, which a migrated store may hold, counts as the default."""

from typing import cast

from api.admin.groups import Number, shown_number
from domain.settings import InvalidSetting, Settings

DEFAULTS = Settings({})


class Readable:
    """Settings whose getters never refuse."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def text(self, key: str) -> str:
        return self._settings.text(key)

    def flag(self, key: str) -> bool:
        try:
            return self._settings.bool(key)
        except InvalidSetting:
            return DEFAULTS.bool(key)

    def whole(self, key: str) -> int:
        try:
            return self._settings.int(key)
        except InvalidSetting:
            return DEFAULTS.int(key)

    def number(self, key: str) -> Number:
        try:
            return shown_number(self._settings.decimal(key))
        except InvalidSetting:
            return shown_number(DEFAULTS.decimal(key))

    def pairs(self, key: str) -> list[dict[str, str]]:
        """A list of objects with one name and one text each."""
        try:
            found = self._settings.json(key)
        except InvalidSetting:
            found = DEFAULTS.json(key)
        return cast("list[dict[str, str]]", found)
