"""A replay by several processes: each reads the whole log, folds some of the read models, and decodes only what they handle."""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from ledger.store import LedgerStore
from ledger.vault import Vault
from projections.building import Growth, Progress, Told, fingerprint
from projections.catalogue import projections
from projections.errors import ReplayRefused
from projections.pace import Pace, give_way, peak_mb
from projections.places import ReadPlace, database_at

COSTS: Final[Mapping[str, int]] = {
    "statements": 87,
    "usage_log": 43,
    "rollups": 29,
    "keys": 20,
    "people": 18,
    "channels": 10,
}
"""CPU of a log of charges, in relation to each other, beside the reading of it that each part does; others cost 1."""
END_S = 10.0


class Part(NamedTuple):
    """What one process folds, up to a goal. Number 0 builds what the others are gathered into."""

    number: int
    names: tuple[str, ...]
    goal: int


class Said(msgspec.Struct, frozen=True):
    """A line that the process of a part writes after each page."""

    position: int
    facts: int
    facts_per_s: float
    peak_mb: float


Start = Callable[[Part], "subprocess.Popen[bytes]"]
"""Starts a process that calls `fold_part` on the same ledger, writes what it says to stdout, and has no other output there."""


def shared_out(positions: Mapping[str, int], processes: int, goal: int) -> list[Part]:
    """Parts of about the same cost. What has been begun stays in part 0."""
    shares: list[list[str]] = [[] for _ in range(processes)]
    shares[0] += [name for name, position in positions.items() if position]
    for name in sorted(positions, key=_cost, reverse=True):
        if not positions[name]:
            min(shares, key=lambda share: sum(map(_cost, share))).append(name)
    return [Part(number, tuple(sorted(names)), goal) for number, names in enumerate(shares) if names]


def _cost(name: str) -> int:
    return COSTS.get(name.rpartition("_v")[0], 1)


def fold_part(
    place: ReadPlace, store: LedgerStore, vault: Vault, part: Part, pace: Pace, say: Callable[[Said], object]
) -> None:
    """The work of one process. It ends early when its parent is gone: somebody else goes on with what it has built."""
    parent = os.getppid()
    database = database_at(place)
    folder = database.beside(fingerprint()).open(part.number)

    def told(progress: Progress) -> None:
        say(Said(progress.position, growth.facts, progress.facts_per_s, peak_mb()))
        if os.getppid() != parent:
            raise ReplayRefused("whoever started this part of a replay is gone")

    try:
        if pace.idle:
            give_way()
        found = [projection for projection in projections(vault) if projection.name in part.names]
        growth = Growth(database, folder, found, pace, told)
        growth.fold(store, part.goal)
    finally:
        folder.close()
        database.close()


class Parts:
    """Processes at work, and what they say."""

    def __init__(self, parts: Sequence[Part], start: Start, told: Told | None) -> None:
        self._parts = parts
        self._told = told
        self._said: dict[int, Said] = {}
        self._lock = threading.Lock()
        self._processes = {part.number: start(part) for part in parts}

    @property
    def facts(self) -> int:
        """Each reads the same facts."""
        return max((said.facts for said in self._said.values()), default=0)

    @property
    def peak_mb(self) -> float:
        """Of all together."""
        return sum(said.peak_mb for said in self._said.values())

    def finish(self) -> None:
        """Wait for all of them. Raises ReplayRefused when one did not finish; the others are stopped then."""
        listeners = [threading.Thread(target=self._listen, args=(part,), daemon=True) for part in self._parts]
        try:
            for listener in listeners:
                listener.start()
            for listener in listeners:
                listener.join()
            ended = {number: process.wait(END_S) for number, process in self._processes.items()}
        finally:
            self._stop()
        if any(ended.values()):
            raise ReplayRefused("a process of the replay failed, see what it said: a new replay goes on from there")

    def _listen(self, part: Part) -> None:
        output = self._processes[part.number].stdout
        assert output is not None, "its output is a pipe"
        with output:
            for line in output:
                self._hear(part, msgspec.json.decode(line, type=Said))

    def _hear(self, part: Part, said: Said) -> None:
        with self._lock:
            self._said[part.number] = said
            if self._told is not None and len(self._said) == len(self._parts):
                last = min(self._said.values(), key=lambda one: one.position)
                self._told(Progress(last.position, part.goal, last.facts_per_s))

    def _stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
                process.wait(END_S)
