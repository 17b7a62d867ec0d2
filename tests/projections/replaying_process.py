"""A replay in a process of its own, to be killed: `python -m tests.projections.replaying_process FOLDER [DSN SCHEMA]`.

With `--part NUMBER GOAL NAME,NAME...` before the folder, one part of a replay by several processes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from ledger.sqlite import SqliteStore
from ledger.vault import open_vault
from projections.building import Progress
from projections.pace import Pace
from projections.parts import Part, Said, Start, fold_part
from projections.replay import replay
from tests.projections.whereabouts import Where, place_of

ROOT = Path(__file__).parent.parent.parent
SLOWLY = Pace(pause_s=0.2)


def started(where: Where, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.projections.replaying_process", *options, *where.arguments()]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def starter(where: Where) -> Start:
    """Starts parts of a replay."""

    def start(part: Part) -> subprocess.Popen[bytes]:
        return started(where, "--part", str(part.number), str(part.goal), ",".join(part.names))

    return start


def say(said: Said | Progress) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    part = None
    if arguments[0] == "--part":
        _, number, goal, names, *arguments = arguments
        part = Part(int(number), tuple(names.split(",")), int(goal))
    store = SqliteStore(Path(arguments[0]))
    vault = open_vault(store, store.folder)
    place = place_of(arguments)
    if part is not None:
        fold_part(place, store, vault, part, Pace(), say)
    else:
        replay(place, store, vault, pace=SLOWLY, progress=say)


if __name__ == "__main__":
    main(sys.argv[1:])
