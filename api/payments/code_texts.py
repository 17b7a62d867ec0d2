"""The texts of redemption codes. The ledger knows a text by its HMAC, and finds its code by that: no read model is asked."""

import secrets
from typing import Protocol

from domain import gift_code, streams
from domain.events import CodeTextClaimed, Fact
from domain.gift_code import GiftCode
from ledger.store import LedgerStore
from ledger.vault import Vault

TEXT_BYTES = 16
"""32 hex digits, as long as the family's."""
NO_CODE = 0
"""No code has this id: asking the ledger for it takes as long as asking for one that was deleted."""


class OpenBooks(Protocol):
    """A ledger that is open for reading, with its vault."""

    @property
    def store(self) -> LedgerStore: ...

    @property
    def vault(self) -> Vault: ...


def new_text() -> str:
    return secrets.token_hex(TEXT_BYTES)


def digest(vault: Vault, text: str) -> str:
    return vault.digest("code", text)


def code_with_text(books: OpenBooks, text: str) -> int:
    """The id of the code that ever had this text, deleted or not; NO_CODE where none had."""
    claimed = books.store.read_stream(streams.code_text(digest(books.vault, text.strip())))
    first = claimed[0].fact if claimed else None
    return first.code if isinstance(first, CodeTextClaimed) else NO_CODE


def code_with_id(store: LedgerStore, code_id: int) -> tuple[GiftCode | None, int]:
    """A code as its facts left it, deleted ones too, and the version of its stream."""
    facts: list[Fact] = [recorded.fact for recorded in store.read_stream(streams.code(code_id))]
    return gift_code.from_facts(facts), len(facts)
