"""`python -m tests.simulator --seeds 10000`: live through many seeds, and say what was seen.

Exit status 1 when a seed found a breach; each is printed with the seed that shows it again.
"""

# ruff: noqa: T201  (this is its report)
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulator.coverage import Covered
from tests.simulator.world import DEFAULT_TICKS, Outcome, run

CHUNK_SEEDS = 20


def main() -> int:
    options = parsed()
    first: int = options.from_seed if options.seed is None else options.seed
    seeds = range(first, first + (options.seeds if options.seed is None else 1))
    started, breaches, commands, facts, covered = time.monotonic(), 0, 0, 0, Covered()
    for outcome in outcomes(seeds, options.ticks, options.processes):
        commands += outcome.commands
        facts += outcome.facts
        breaches += bool(outcome.breach)
        covered.add(outcome)
        if options.verbose or options.seed is not None or outcome.breach:
            print(told(outcome), flush=True)
    if options.verbose:
        print(covered.report())
    took_s = time.monotonic() - started
    print(
        f"{len(seeds)} seeds in {took_s:.0f} s: {commands:,} commands ({commands / max(took_s, 0.001):,.0f}/s), "
        f"{facts:,} facts, {covered.faults.total():,} faults, {breaches} breaches"
    )
    return 1 if breaches else 0


def outcomes(seeds: range, ticks: int, processes: int) -> Iterator[Outcome]:
    """In the order of the seeds."""
    if processes == 1 or len(seeds) == 1:
        yield from (run(seed, ticks) for seed in seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(run, seeds, [ticks] * len(seeds), chunksize=CHUNK_SEEDS)


def told(outcome: Outcome) -> str:
    line = f"seed {outcome.seed}: {outcome.commands} commands, {outcome.facts} facts, {outcome.digest}"
    return f"{line}\n    {outcome.breach}" if outcome.breach else line


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--from", dest="from_seed", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--ticks", type=int, default=DEFAULT_TICKS, help="length of phase one, 100 ms each")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="a line for each seed, and what was covered")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
