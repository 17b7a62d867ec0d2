"""A process whose directory follows a ledger: `main(WHERE, SECONDS, HINTED)`. Says when it knew each value of one option.

Moments are of the machine's monotonic clock, which all of its processes share.
"""

from __future__ import annotations

import sys
import time
from time import monotonic

import msgspec

from ledger.postgres_wakeups import Wakeups
from ledger.vault import open_vault
from projections.directory import Directory
from tests.crash.where import where

OPTION, THE_END = "Notice", "the end"
LOOKS_EVERY_S = 0.001


def main(told: str, seconds: str, hinted: str) -> None:
    place = where(told)
    store = place.open()
    directory = Directory(store, open_vault(store, place.folder))
    directory.start()
    wakeups = Wakeups(place.dsn, directory.hint, schema=place.schema) if hinted == "hinted" else None
    if wakeups is not None:
        wakeups.start()
    sys.stdout.write("following\n")
    sys.stdout.flush()
    known: dict[str, float] = {}
    ends_at = monotonic() + float(seconds)
    value = ""
    while monotonic() < ends_at and value != THE_END:
        value = directory.options().get(OPTION, "")
        known.setdefault(value, monotonic())
        time.sleep(LOOKS_EVERY_S)
    if wakeups is not None:
        wakeups.stop()
    directory.stop()
    store.close()
    sys.stdout.write(msgspec.json.encode(known).decode())
