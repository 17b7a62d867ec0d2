"""`python -m tests.crash.run --rounds N`: kill the ledger, and one time in five the gateway, N times under load.

Prints a line for each round and a summary at the end. Exit status 1 when anything that was acknowledged was lost or doubled, a
balance differs from its facts, or a hold of a dead process stayed open.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.crash import gateway_rounds, ledger_rounds
from tests.crash.ledger_rounds import Round
from tests.laws import seeds

GATEWAY_SHARE = 5
ROUNDS_PER_GATEWAY = 25


def main() -> int:
    options = parsed()
    seeds.show()
    started, problems, acknowledged = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        for one in both(Path(folder), options.rounds, with_gateway=not options.no_gateway):
            print(one, flush=True)  # noqa: T201  (this is its report)
            for problem in one.found.problems:
                print(f"    {problem}", flush=True)  # noqa: T201
            problems += len(one.found.problems)
            acknowledged += one.acknowledged
    print(  # noqa: T201
        f"{options.rounds} rounds in {time.monotonic() - started:.0f} s: {acknowledged} acknowledged, {problems} problems "
        f"(LEDGER_SEED={seeds.SEED})"
    )
    return 1 if problems else 0


def both(folder: Path, count: int, *, with_gateway: bool) -> Iterator[Round]:
    """The rounds of the ledger and then those of the gateway, `count` together."""
    of_gateway = count // GATEWAY_SHARE if with_gateway else 0
    yield from ledger_rounds.rounds(folder, count - of_gateway, seeds.chance("ledger rounds"))
    for first in range(0, of_gateway, ROUNDS_PER_GATEWAY):
        number = min(ROUNDS_PER_GATEWAY, of_gateway - first)
        place = folder / f"gateway-{first}"
        place.mkdir()
        yield from gateway_rounds.rounds(place, number, seeds.chance("gateway rounds", first))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="kills altogether")
    parser.add_argument("--no-gateway", action="store_true", help="kill ledger processes only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
