"""Rounds of `kill -9` on processes that write one ledger, on either store.

Two workers are under load at any time. Each round kills the older one at a random moment, lets a new process check the ledger
while the younger one goes on, and starts another. What was acknowledged must be there, once, with what was paid.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.crash import worker
from tests.crash.forks import Forks
from tests.crash.rounds import Round, Worker, check
from tests.crash.where import Ground, Where

ROUNDS_PER_LEDGER = 10
"""Then a new one is begun, so that a thousand rounds do not read one ever longer log a thousand times."""
MAX_LOAD_S = 0.3


def rounds(ground: Ground, forks: Forks, count: int, draw: random.Random) -> Iterator[Round]:
    """Kill `count` workers, one a round."""
    for first in range(0, count, ROUNDS_PER_LEDGER):
        place = ground.ledger(f"ledger_{first}")
        worker.prepare(place)
        yield from life(place, forks, range(first, min(count, first + ROUNDS_PER_LEDGER)), draw)


def life(place: Where, forks: Forks, numbers: range, draw: random.Random) -> Iterator[Round]:
    """The rounds of one ledger, and at its end a check of all that was ever acknowledged."""
    kind = "ledger on postgres" if place.dsn else "ledger on sqlite"
    lines: list[str] = []
    older = Worker(forks, place, f"{draw.random()}")
    try:
        for number in numbers:
            younger = Worker(forks, place, f"{draw.random()}")
            is_early = draw.random() < 0.15
            if not is_early:
                older.wait_until_loaded()
            killed = older.kill(draw.uniform(0, MAX_LOAD_S))
            older = younger
            lines += killed
            yield Round(kind, "a writer", number, len(killed), check(forks, place, killed))
    finally:
        older.close()
    lines += older.lines
    found = check(forks, place, lines)
    yield Round(kind, "all since it was made", numbers[-1], len(older.lines), found)
