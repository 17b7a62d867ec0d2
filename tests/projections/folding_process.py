"""A process that folds until it is killed: `python -m tests.projections.folding_process FOLDER PAGE_LIMIT`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from ledger.sqlite import SqliteStore
from ledger.vault import open_vault
from projections import projector
from projections.runner import Runner

if __name__ == "__main__":
    folder, page_limit = Path(sys.argv[1]), int(sys.argv[2])
    store = SqliteStore(folder)
    vault = open_vault(store, folder)
    if page_limit:
        Runner(folder, store, vault, page_limit=page_limit).run(threading.Event())
    projector.run(folder, store, vault, threading.Event())
