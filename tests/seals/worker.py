"""A process that writes or seals until it is told to stop, or killed: `python -m tests.seals.worker FOLDER write|seal SEED`.

It prints a line when it has begun, and a last one with what it did.
"""

from __future__ import annotations

import random
import select
import sys
from pathlib import Path
from time import time_ns

from ledger.sealer import seal_here
from ledger.sqlite import SqliteStore
from tests.laws import calls

PAUSE_S = 0.004


def main(folder: Path, mode: str, seed: str) -> None:
    store = SqliteStore(folder, synchronous="OFF")  # what survives loss of power is not what is tried here
    draw = random.Random(seed)
    done = 0
    print("begun", flush=True)  # noqa: T201  (the parent waits for it)
    while not told_to_stop():
        done += sealed(store, folder) if mode == "seal" else written(store, draw)
    print(done, flush=True)  # noqa: T201  (the parent reads it)
    store.close()


def told_to_stop() -> bool:
    return bool(select.select([sys.stdin], [], [], PAUSE_S)[0])


def sealed(store: SqliteStore, folder: Path) -> int:
    return len(seal_here(store, folder, "", time_ns() // 1_000_000))


def written(store: SqliteStore, draw: random.Random) -> int:
    charges = [f"{draw.getrandbits(128):032x}" for _ in range(draw.randrange(1, 60))]
    store.commit([calls.hold(1, charge) for charge in charges])
    return len(charges)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
