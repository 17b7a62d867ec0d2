"""A process that folds until it is killed: `python -m tests.projections.folding_process PAGE_LIMIT FOLDER [DSN SCHEMA]`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from ledger.sqlite import SqliteStore
from ledger.vault import open_vault
from projections import projector
from projections.runner import Runner
from tests.projections.whereabouts import place_of

if __name__ == "__main__":
    page_limit, folder, place = int(sys.argv[1]), Path(sys.argv[2]), place_of(sys.argv[2:])
    store = SqliteStore(folder)
    vault = open_vault(store, folder)
    if page_limit:
        Runner(place, store, vault, page_limit=page_limit).run(threading.Event())
    projector.run(place, store, vault, threading.Event())
