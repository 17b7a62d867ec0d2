"""Rounds in which PostgreSQL dies under the load of two processes that go on: its postmaster, one backend, or all of it at once.

After each the server starts on what it left, the same processes acknowledge more without a restart, and another process checks
everything that they have told since the round before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.crash import worker
from tests.crash.forks import Forks
from tests.crash.rounds import Round, Worker, check
from tests.crash.where import Ground, Where
from tests.harness.mortal import DEATHS, MortalServer

ROUNDS_PER_LEDGER = 5
MAX_LOAD_S = 0.4
WORKERS = 2
MORE = 5
"""Acknowledgements that show that a worker goes on."""


def rounds(ground: Ground, forks: Forks, count: int, draw: random.Random) -> Iterator[Round]:
    """Let the server die `count` times."""
    assert ground.server is not None, "a file has no server"
    for first in range(0, count, ROUNDS_PER_LEDGER):
        place = ground.ledger(f"server_{first}")
        worker.prepare(place)
        numbers = range(first, min(count, first + ROUNDS_PER_LEDGER))
        yield from life(ground.server, place, forks, numbers, draw)


def life(server: MortalServer, place: Where, forks: Forks, numbers: range, draw: random.Random) -> Iterator[Round]:
    workers = [Worker(forks, place, f"{draw.random()}") for _ in range(WORKERS)]
    lines: list[str] = []
    try:
        for number in numbers:
            for one in workers:
                one.wait_for_more(MORE)
            workers[0].rest(draw.uniform(0, MAX_LOAD_S))
            how = draw.choice(DEATHS)
            server.die(how, draw)
            for one in workers:
                one.wait_for_more(MORE)
            told = [line for one in workers for line in one.taken()]
            lines += told
            yield Round("server", how, number, len(told), check(forks, place, told))
    finally:
        for one in workers:
            one.close()
    rest = [line for one in workers for line in one.taken()]
    yield Round("server", "all since it was made", numbers[-1], len(rest), check(forks, place, lines + rest))
