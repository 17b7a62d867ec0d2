"""A PostgreSQL whose disk is full, and then is not: `python -m tests.chaos.full_server limit|tmpfs`. Prints what a ledger on it saw.

With `tmpfs` the whole server is on a small file system, which only this process and its children see, and which is made larger; with
`limit` no file of the server may grow beyond a bound, which is lifted with a restart.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

from ledger.errors import LedgerUnavailable
from ledger.postgres import PostgresStore
from ledger.verify import verify
from ledger.writer import Writer
from tests.harness.mortal import MortalServer
from tests.harness.postgres import run
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.ledger.places import QUICK

MIB = 1024 * 1024
SMALL_BYTES = {"limit": 3 * MIB, "tmpfs": 48 * MIB}
LARGE_BYTES = 1024 * MIB
BATCH = 200
MAX_HOLDS = 200_000
REFUSALS = 3
SETTINGS = {"min_wal_size": "2MB", "max_wal_size": "8MB", "shared_buffers": "4MB"}


def main(kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="full-") as folder:
        if kind == "tmpfs":
            mount(Path(folder), SMALL_BYTES[kind])
            tempfile.tempdir = folder
        with SmallServer(tcp=True, settings=SETTINGS) as server:
            if kind == "limit":
                restart(server, SMALL_BYTES[kind])
            room = partial(mount, Path(folder)) if kind == "tmpfs" else partial(restart, server)
            seen = fill(server, partial(room, LARGE_BYTES))
        if kind == "tmpfs":
            subprocess.run(["umount", folder], check=True)
    print(json.dumps(seen))  # noqa: T201  (the parent reads it)


class SmallServer(MortalServer):
    """With a log in small files: it is full early."""

    def initialise(self) -> None:
        super().initialise()
        run("pg_resetwal", "--wal-segsize=1", "-D", str(self.data))


def fill(server: MortalServer, make_room: Callable[[], None]) -> dict[str, object]:
    """Hold until the disk refuses, and some more; then make room and go on, with the same store."""
    store = PostgresStore(server.dsn(), limits=QUICK)
    writer = Writer(store)
    writer.submit_blocking(calls.customer(grant=10**12))
    held: list[int] = []
    refused, said, first = 0, "", 0
    while refused < REFUSALS and first < MAX_HOLDS:
        problem = hold(writer, first)
        held += [] if problem else range(first, first + BATCH)
        refused, said, first = refused + bool(problem), problem or said, first + BATCH
    make_room()
    began = monotonic()
    if not server.lives():
        server.start()
    resumed = eventually(lambda: hold(writer, first), lambda problem: not problem, within_s=30)
    back_s = monotonic() - began
    again = {writer.submit_blocking(calls.hold(1, calls.charge(number))).status for number in held[-20:]}
    writer.close()
    there = {fact.stream for fact in store.read_stored(0, MAX_HOLDS) if fact.topic == "charge.held/1"}
    seen: dict[str, object] = {
        "held": len(held),
        "refused": refused,
        "said": said,
        "lost": sum(calls.charge(number) not in there for number in held),
        "resumed": not resumed,
        "back_s": back_s,
        "again": sorted(again),
        "differences": [str(difference) for difference in verify(store).differences],
    }
    store.close()
    return seen


def hold(writer: Writer, first: int) -> str:
    """Ask for a batch of holds of these numbers; why it was refused, or "" when all of them are held."""
    try:
        results = writer.submit_all_blocking([calls.hold(1, calls.charge(first + n)) for n in range(BATCH)])
    except LedgerUnavailable as error:
        return str(error)
    assert all(result.ok for result in results), results
    return ""


def restart(server: MortalServer, size_bytes: int) -> None:
    """The bound of a file is inherited, and nobody else's to change."""
    server.stop(immediately=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
    server.start()


def mount(folder: Path, size_bytes: int) -> None:
    options = f"{'remount,' if folder.is_mount() else ''}size={size_bytes},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
