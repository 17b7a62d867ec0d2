"""The projector: one process beside the workers that folds the ledger into read models, until it is told to stop.

It ends with FoldStopped at a fact that it cannot fold: nothing is skipped, and whoever started it sees it end.
"""

import gc
import logging
import threading

from ledger.store import LedgerStore
from ledger.vault import Vault
from projections.errors import FoldStopped
from projections.places import ReadPlace
from projections.runner import Runner

OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""More than a page of facts makes, and all of them go with it: the collector need not look for cycles amid a page."""

log = logging.getLogger("veloera.projections")


def run(place: ReadPlace, store: LedgerStore, vault: Vault, stop: threading.Event) -> None:
    """Fold until `stop`. Blocks; raises FoldStopped, with the position, at a fact that cannot be folded."""
    runner = Runner(place, store, vault)
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        runner.run(stop)
    except FoldStopped as error:
        log.critical(
            "folding stopped",
            extra={"position": error.position, "projection": error.projection, "error": str(error)},
        )
        raise
    finally:
        runner.close()
