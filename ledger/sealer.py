"""Sealing as it goes on beside everything else: one process of all leads, and a machine remembers which block it saw last.

`seal.head` in the data folder names that block. It is no secret; it is outside the database, so a database that lost its newest
blocks, or has others in their place, is not sealed any further, and `verify --full` says so.
"""

import json
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from ledger.errors import SealRefused
from ledger.seal_keys import seal_key
from ledger.seals import hash_of, seal
from ledger.store import Lead, LedgerReader, LedgerStore, Seal

HEAD_FILE = "seal.head"


class Head(NamedTuple):
    """A block that was there."""

    number: int
    hash: bytes


class Sealer:
    """What a job calls every few seconds, in one process or in several: only the one that leads does anything."""

    def __init__(self, store: LedgerStore, folder: Path, secret: str = "") -> None:
        self._store = store
        self._folder = folder
        self._secret = secret
        self._lead: Lead | None = None

    def run(self, now_ms: int) -> list[Seal]:
        """Seal what is there; the new blocks, none where another process leads. Raises SealRefused and LedgerUnavailable."""
        return seal_here(self._store, self._folder, self._secret, now_ms) if self._leads() else []

    def close(self) -> None:
        """Give the lead away."""
        if self._lead is not None:
            self._lead.close()
            self._lead = None

    def _leads(self) -> bool:
        if self._lead is None or not self._lead.is_held():
            self.close()
            self._lead = self._store.lead("sealer")
        return self._lead is not None


def seal_here(store: LedgerStore, folder: Path, secret: str, now_ms: int) -> list[Seal]:
    """Seal every fact with this machine's key, which is made for a ledger that has no block yet.

    The key is read each time: a new one is in force at once. Raises SealRefused and LedgerUnavailable.
    """
    check_head(store, read_head(folder))
    newest = store.last_seal()
    made = seal(store, seal_key(folder, secret, new=newest is None), now_ms)
    if newest := made[-1] if made else newest:
        _write_head(folder, Head(newest.number, hash_of(newest)))
    return made


def check_head(reader: LedgerReader, head: Head | None) -> None:
    """Raises SealRefused when the block that was seen last is not there any more."""
    if head is None:
        return
    there = reader.read_seals(head.number - 1, 1)
    if not there or there[0].number != head.number or hash_of(there[0]) != head.hash:
        raise SealRefused(
            f"block {head.number} is not the one that this machine saw ({HEAD_FILE}): run `veloera ledger verify --full`; "
            f"where an older back-up was restored on purpose, remove {HEAD_FILE}"
        )


def read_head(folder: Path) -> Head | None:
    """The newest block that this machine saw. Read it before the ledger that it is compared with. Raises SealRefused."""
    path = folder / HEAD_FILE
    try:
        told = json.loads(path.read_bytes())
        return Head(int(told["block"]), bytes.fromhex(told["hash"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SealRefused(f"{path} cannot be read: {error}") from error


def _write_head(folder: Path, head: Head) -> None:
    """In the place of the old one, whole: a crash leaves either."""
    if read_head(folder) == head:
        return
    made = folder / f"{HEAD_FILE}.{secrets.token_hex(8)}"
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"block": head.number, "hash": head.hash.hex()}, file)
        file.flush()
        os.fsync(file.fileno())
    made.replace(folder / HEAD_FILE)
