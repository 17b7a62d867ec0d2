"""A process that opens a ledger and says where it ends: `main(WHERE)`."""

from __future__ import annotations

import sys

from tests.crash.where import where


def main(told: str) -> None:
    store = where(told).open()
    sys.stdout.write(str(store.head()))
    store.close()
