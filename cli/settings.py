"""Settings as they are stored, each with the version it was read at, so that a change never undoes somebody else's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from domain import streams
from domain.events import SettingChanged
from domain.settings import Settings

if TYPE_CHECKING:
    from api.compose import Books


class Stored(NamedTuple):
    """Some settings over their defaults, and the versions of their streams."""

    settings: Settings
    texts: dict[str, str]
    versions: dict[str, int]


def stored(books: Books, keys: Iterable[str]) -> Stored:
    """Read these settings from the event store. Secrets are not among what is read here."""
    texts: dict[str, str] = {}
    versions: dict[str, int] = {}
    for key in keys:
        past = books.store.read_stream(streams.setting(key))
        versions[key] = len(past)
        last = past[-1].fact if past else None
        if isinstance(last, SettingChanged):
            texts[key] = last.value
    return Stored(Settings(texts), texts, versions)
