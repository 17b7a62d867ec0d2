"""A process that commits random batches over accounts that others use as well, and tells what became of them.

Run as `python -m tests.ledger.hunting PLACE SEED SECONDS`; prints JSON when its time is over.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter

from domain.commands import Adjust, Command, LimitKey
from ledger.postgres import PostgresStore
from tests.laws import calls
from tests.ledger.places import opened
from tests.ledger.test_postgres_commit import setting as appended

USERS = 5
CHARGES = 400


def main(told: str, seed: str, seconds: float) -> None:
    store, draw = opened(told), random.Random(seed)
    assert isinstance(store, PostgresStore)
    statuses: Counter[str] = Counter()
    print("ready", flush=True)  # noqa: T201  (the parent waits for it)
    sys.stdin.readline()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        batch = [command(draw, seed) for _ in range(draw.choice([1, 3, 20]))]
        statuses.update(result.status for result in store.commit(batch))
    retries = store.retries
    store.close()
    print(json.dumps({"statuses": statuses, "retries": retries}))  # noqa: T201  (as above)


def command(draw: random.Random, seed: str) -> Command:
    """On users, keys and charges that all processes draw from the same few; also on some that are not there yet."""
    user, key, charge = draw.randint(1, USERS + 1), draw.randint(1, USERS + 1), calls.charge(draw.randint(1, CHARGES))
    kind = draw.randrange(20)
    if kind == 0:
        return calls.customer(f"{seed}-{draw.random()}", grant=draw.randint(0, 9))
    if kind == 1:
        return calls.key_of(user, limit=draw.choice([None, 500]))
    if kind == 2:
        return Adjust(command_key=f"{seed}-{draw.random()}", user=user, delta=draw.randint(-50, 500))
    if kind == 3:
        return LimitKey(key=key, delta=draw.randint(-5, 50))
    if kind == 4:
        return appended(f"{seed} {draw.random()}")
    if kind < 12:
        return calls.hold(draw.randint(0, 40), charge, user=user, key=key, capped=draw.random() < 0.5)
    if kind < 17:
        return calls.settle(draw.randint(0, 60), charge, user=user, key=key, capped=draw.random() < 0.5)
    return calls.expire(charge, user=user, key=key, capped=draw.random() < 0.5)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
