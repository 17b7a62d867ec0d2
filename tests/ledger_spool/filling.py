"""A process that keeps ends until its disk is full, and goes on when there is room again. Prints what it saw as JSON.

Run as `python -m tests.ledger_spool.filling FOLDER limit|tmpfs`, as `tests.ledger.filling` is. The database is away meanwhile.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from pathlib import Path

from ledger.errors import SpoolFull
from ledger.spool import Spool, open_spool
from ledger.spool_survey import survey
from ledger.verify import verify
from ledger.writer import Writer
from tests.laws import calls
from tests.ledger.filling import make_room
from tests.ledger_spool.books import ends, held
from tests.ledger_spool.faulty import FaultyStore

SMALL_BYTES, LARGE_BYTES = 64 * 1024, 64 * 1024 * 1024
MAX_CALLS = 400
REFUSALS = 20


def main(folder: Path, kind: str) -> None:
    store = FaultyStore(folder)
    store.commit([calls.customer(grant=10**9)])
    held(store, MAX_CALLS)
    store.fault = "away"
    if kind == "tmpfs":
        make_room(folder / "spool", kind, SMALL_BYTES)
    writer = Writer(store)
    spool = open_spool(folder / "spool", writer, name="0001")
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_BYTES, resource.RLIM_INFINITY))
    kept, refused = filled(spool)
    make_room(folder / "spool", kind, LARGE_BYTES)
    resumed = [keeps(spool, number) for number in refused[:5]]
    survived = sum(file.records for file in survey(folder / "spool").files)
    store.fault = ""
    is_drained = spool.await_drained(20)
    spool.close()
    writer.close()
    charged = {n for n in range(MAX_CALLS) if ends(store, n)}
    seen = {
        "kept": len(kept),
        "refused": len(refused),
        "resumed": resumed,
        "survived": survived,
        "drained": is_drained,
        "lost": len({*kept, *refused[:5]} - charged),
        "charged_for_nothing": len(charged - {*kept, *refused[:5]}),
        "damaged": spool.files.damaged,
        "differences": [str(difference) for difference in verify(store).differences],
    }
    store.close()
    print(json.dumps(seen))  # noqa: T201  (the parent reads it)


def filled(spool: Spool) -> tuple[list[int], list[int]]:
    """Keep until the disk refuses, and then for some time more; the numbers of those that were kept, and of those that were not."""
    kept: list[int] = []
    refused: list[int] = []
    for number in range(MAX_CALLS):
        (kept if keeps(spool, number) else refused).append(number)
        if len(refused) == REFUSALS:
            break
    return kept, refused


def keeps(spool: Spool, number: int) -> bool:
    try:
        spool.keep(calls.settle(number, calls.charge(number))).result(10)
    except SpoolFull:
        return False
    return True


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main(Path(sys.argv[1]), sys.argv[2])
