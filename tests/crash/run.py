"""`python -m tests.crash.run --rounds N`: kill writers, gateways and PostgreSQL N times under load, on either store or both.

Prints a line for each round and a summary for each kind at the end. Exit status 1 when anything that was acknowledged was lost or
doubled, a balance differs from its facts, or a hold of a dead process stayed open.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from tests.crash import gateway_rounds, ledger_rounds, server_rounds
from tests.crash.forks import Forks
from tests.crash.rounds import MODULES, Round
from tests.crash.where import KINDS, Ground, Kind, ground
from tests.laws import seeds

OF_A_ROUND = ("ledger", "gateway", "server")
SHARE = 5
"""Of kinds that take longer, one round for so many of the ledger's, where all kinds are asked for."""
ROUNDS_PER_GATEWAY = 20


class Sums:
    """What the rounds of one kind came to."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.rounds = self.acknowledged = self.lost = self.ended = self.problems = 0

    def add(self, one: Round) -> None:
        self.rounds += not one.what.startswith("all since")
        self.acknowledged += one.acknowledged
        self.lost += one.found.lost
        self.ended += one.found.ended
        self.problems += len(one.found.problems)

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds, {self.acknowledged:,} acknowledged, {self.lost} lost, {self.ended:,} holds of the dead "
            f"ended, {self.problems} problems, {time.monotonic() - self.began:.0f} s"
        )


def main() -> int:
    options = parsed()
    seeds.show()
    summary: list[str] = []
    problems = 0
    stores: list[Kind] = [kind for kind in KINDS if options.store in {kind, "both"}]
    with Forks(*MODULES) as forks:
        for store in stores:
            for kind in OF_A_ROUND:
                if options.kind in {kind, "all"} and (kind, store) != ("server", "sqlite"):
                    count = options.rounds if kind in {options.kind, "ledger"} else options.rounds // SHARE
                    sums = told(kind, store, forks, count, quiet=options.quiet)
                    summary.append(f"{kind} on {store}: {sums}")
                    problems += sums.problems
    print("\n".join([*summary, f"LEDGER_SEED={seeds.SEED}"]), flush=True)  # noqa: T201  (this is its report)
    return 1 if problems else 0


def told(kind: str, store: Kind, forks: Forks, count: int, *, quiet: bool) -> Sums:
    """Do the rounds of one kind on one store, and say what each came to."""
    sums = Sums()
    with tempfile.TemporaryDirectory(prefix="crash-") as folder, ground(store, Path(folder)) as place:
        for one in rounds(kind, place, forks, count):
            sums.add(one)
            if not quiet or one.found.problems:
                print("\n    ".join([str(one), *one.found.problems]), flush=True)  # noqa: T201
    return sums


def rounds(kind: str, place: Ground, forks: Forks, count: int) -> Iterator[Round]:
    chance = seeds.chance(kind, "rounds")
    if kind == "ledger":
        yield from ledger_rounds.rounds(place, forks, count, chance)
    elif kind == "server":
        yield from server_rounds.rounds(place, forks, count, chance)
    else:
        for number, first in enumerate(range(0, count, ROUNDS_PER_GATEWAY)):
            of_this = min(ROUNDS_PER_GATEWAY, count - first)
            yield from gateway_rounds.rounds(
                place, forks, of_this, chance, name=f"gateway-{first}", workers=1 + number % 2
            )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=50, help="kills of the ledger on each store, or of the kind named"
    )
    parser.add_argument("--store", choices=[*get_args(Kind), "both"], default="both")
    parser.add_argument("--kind", choices=[*OF_A_ROUND, "all"], default="all", help="who is killed")
    parser.add_argument("--quiet", action="store_true", help="print the summary, and rounds with a problem")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
