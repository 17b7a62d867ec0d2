"""What every fact has: the topic it is stored under, when it was recorded, and what it moved."""

from typing import ClassVar

import msgspec

from domain.accounts import Posting


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to one stream."""

    TOPIC: ClassVar[str] = ""

    at: int = 0
    """When it was recorded, ms; set by the store's clock at commit."""
    postings: tuple[Posting, ...] = ()
    floors: tuple[tuple[str, int | None], ...] = ()
    """New floors of guarded accounts, in mills; None: no floor."""
