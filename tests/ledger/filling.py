"""A process that commits until its disk is full, and goes on when there is room again. Prints what it saw as JSON.

Run as `python -m tests.ledger.filling FOLDER limit|tmpfs`. With `limit` no file may grow beyond a bound; with `tmpfs` a small
file system is mounted over the folder, for this process alone, and remounted larger.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from domain.commands import Command
from ledger.errors import LedgerUnavailable
from ledger.sqlite import SqliteStore
from ledger.verify import verify
from ledger.writer import Writer
from tests.laws import calls

MIB = 1024 * 1024
SMALL_BYTES = {"limit": 2 * MIB, "tmpfs": 6 * MIB}
"""The first is full before the log is first carried over into the database, the second after it."""
LARGE_BYTES = 64 * MIB
MAX_HOLDS = 20_000
REFUSALS = 50


def main(folder: Path, kind: str) -> None:
    make_room(folder, kind, SMALL_BYTES[kind])
    store = SqliteStore(folder)
    writer = Writer(store)
    writer.submit_blocking(calls.customer(grant=10**9))
    held, refused = fill(writer)
    make_room(folder, kind, LARGE_BYTES)
    resumed = [ask(writer, calls.hold(1, calls.charge(MAX_HOLDS + n))) for n in range(5)]
    again = [ask(writer, calls.hold(1, calls.charge(n))) for n in held[-20:]]
    writer.close()
    there = {hold.charge for n in range(0, MAX_HOLDS, 1000) for hold in store.open_holds(after=after(n))}
    seen = {
        "held": len(held),
        "refused": refused,
        "lost": sum(calls.charge(n) not in there for n in held),
        "resumed": resumed,
        "again": again,
        "differences": [str(difference) for difference in verify(store).differences],
    }
    store.close()
    print(json.dumps(seen))  # noqa: T201  (the parent reads it)


def fill(writer: Writer) -> tuple[list[int], int]:
    """Hold until the disk refuses, and then for some time more; the numbers of what was acknowledged."""
    held: list[int] = []
    refused = 0
    for number in range(MAX_HOLDS):
        if ask(writer, calls.hold(1, calls.charge(number))) == "created":
            held.append(number)
        else:
            refused += 1
        if refused == REFUSALS:
            break
    return held, refused


def ask(writer: Writer, command: Command) -> str:
    """The answer's status; `unavailable` when the ledger said so, and no other error is expected."""
    try:
        return writer.submit_blocking(command, timeout_s=20).status
    except LedgerUnavailable:
        return "unavailable"


def make_room(folder: Path, kind: str, size_bytes: int) -> None:
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
        return
    is_mounted = folder.is_mount()
    options = f"{'remount,' if is_mounted else ''}size={size_bytes}"
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def after(number: int) -> str:
    return calls.charge(number - 1) if number else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
