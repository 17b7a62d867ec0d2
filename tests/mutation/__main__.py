"""`python -m tests.mutation`: what of every hundred small breaks of `decide` the laws notice. Bounded: two children, nice 10."""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.mutants import ROOT, Mutant, digest, modules, mutants
from tests.mutation.results import DEFAULT, Results, equivalents, is_equivalent
from tests.mutation.swapping import NOTHING, WHAT_RUNS_AT_IMPORT, broken
from tests.mutation.trial import Bounds, Tried, freshly, swapped

SLOWER = 4
"""How many times the CPU that the laws take without a mutant a mutant may take."""
LEAST_CPU_S, MOST_CPU_S = 20, 600


def main() -> int:
    options = asked(sys.argv[1:])
    os.nice(max(0, options.nice - os.nice(0)))
    chosen, results = choose(options), Results(options.results)
    digests = {module: digest(module) for module in modules()}
    left = [m for m in chosen if wants_trial(results.verdict(m, digests[m.module]), again=options.again)]
    same = [mutant for mutant in left if broken(mutant) == NOTHING]
    left = [mutant for mutant in left if broken(mutant) != NOTHING]
    (unbroken,) = freshly([None], Bounds(options.percent, options.seed, MOST_CPU_S))
    if unbroken[1].verdict != "survived":
        say("the laws do not hold on the code as it is: nothing can be said about mutants")
        return 2
    bounds = Bounds(options.percent, options.seed, max(LEAST_CPU_S, int(unbroken[1].cpu_s * SLOWER)))
    say(f"{len(chosen)} mutants, {len(left)} to try; the laws take {unbroken[1].cpu_s:.1f} s of CPU without one")
    for mutant in same:
        results.add(mutant, digests[mutant.module], "same", 0.0)
    try_all(left, options, bounds, Told(results, digests, options.verbose, len(left)))
    return report(chosen, {m: results.verdict(m, digests[m.module]) or "" for m in chosen}, options.least)


class Told:
    """Writes each verdict down as it comes."""

    def __init__(self, results: Results, digests: dict[str, str], verbose: bool, expected: int) -> None:
        self._results, self._digests, self._verbose, self._expected = results, digests, verbose, expected
        self._began, self._done = time.monotonic(), 0

    def __call__(self, tried: Tried) -> None:
        mutant, (verdict, cpu_s) = tried
        assert mutant is not None, "the code as it is was asked about before"
        self._results.add(mutant, self._digests[mutant.module], verdict, cpu_s)
        self._done += 1
        if verdict != "killed" or self._verbose:
            say(f"{verdict}: {mutant.name}")
        if self._done % 100 == 0:
            say(f"{self._done} of {self._expected} after {time.monotonic() - self._began:.0f} s")


def try_all(left: list[Mutant], options: argparse.Namespace, bounds: Bounds, told: Told) -> None:
    """First those that need a process without the domain in it: afterwards this one has it."""
    at_import = [mutant for mutant in left if options.fresh or broken(mutant) == WHAT_RUNS_AT_IMPORT]
    for tried in freshly(at_import, bounds):
        told(tried)
    tried_already = set(at_import)
    others = [mutant for mutant in left if mutant not in tried_already]
    if others:
        swapped(others, bounds, told)


def asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutants, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1, help="of the sample and of the laws' examples")
    parser.add_argument(
        "--module", action="append", metavar="NAME", help="only modules whose name contains this; may be repeated"
    )
    parser.add_argument("--since", metavar="REVISION", help="only lines that changed since this revision")
    parser.add_argument("--line", type=int, action="append", help="only this line of the modules; may be repeated")
    parser.add_argument("--percent", type=int, default=30, help="of the examples that the laws draw in the suite")
    parser.add_argument("--again", action="store_true", help="try those that survived before once more")
    parser.add_argument("--results", type=Path, default=DEFAULT, help="where verdicts are kept between runs")
    parser.add_argument("--least", type=float, default=90.0, help="fail below this score")
    parser.add_argument("--nice", type=int, default=10, help="how far to step back for other processes")
    parser.add_argument(
        "--fresh", action="store_true", help="import every mutant anew, which takes longer and says the same"
    )
    parser.add_argument("--verbose", action="store_true", help="name those that were killed as well")
    return parser.parse_args(arguments)


def choose(options: argparse.Namespace) -> list[Mutant]:
    names = [name for name in modules() if not options.module or any(part in name for part in options.module)]
    found = [mutant for name in names for mutant in mutants(name)]
    if options.since:
        lines = changed_lines(options.since)
        found = [mutant for mutant in found if mutant.line in lines[mutant.path]]
    if options.line:
        found = [mutant for mutant in found if mutant.line in options.line]
    if options.sample and options.sample < len(found):
        found = random.Random(options.seed).sample(found, options.sample)
    return found


def changed_lines(revision: str) -> dict[str, set[int]]:
    """The lines of each file that are not as they were at a revision."""
    command = ["git", "diff", "--unified=0", revision, "--", "domain"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines: defaultdict[str, set[int]] = defaultdict(set)
    path = ""
    for row in text.splitlines():
        if row.startswith("+++ b/"):
            path = row.removeprefix("+++ b/")
        hunk = re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", row)
        if hunk:
            first, count = int(hunk[1]), int(hunk[2] or 1)
            lines[path].update(range(first, first + count))
    return lines


def wants_trial(verdict: str | None, *, again: bool) -> bool:
    return verdict is None or (again and verdict == "survived")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def report(chosen: list[Mutant], verdicts: dict[Mutant, str], least: float) -> int:
    known = equivalents()
    survivors = [mutant for mutant in chosen if verdicts[mutant] in {"survived", "same"}]
    same = {mutant for mutant in survivors if verdicts[mutant] == "same" or is_equivalent(mutant, known)}
    rows = Counter((mutant.module, verdicts[mutant]) for mutant in chosen)
    say(f"\n{'module':28}{'killed':>8}{'timeout':>9}{'survived':>10}{'equivalent':>12}")
    for module in sorted({mutant.module for mutant in chosen}):
        alike = sum(mutant.module == module for mutant in same)
        counts = [rows[module, verdict] for verdict in ("killed", "timeout")]
        alive = sum(mutant.module == module for mutant in survivors) - alike
        say(f"{module:28}{counts[0]:8}{counts[1]:9}{alive:10}{alike:12}")
    for mutant in survivors:
        if mutant not in same:
            say(f"survived: {mutant.name}")
    killed, total = len(chosen) - len(survivors), len(chosen) - len(same)
    score, gross = (100 * killed / count if count else 100.0 for count in (total, len(chosen)))
    say(
        f"score {score:.1f} %: {killed} of {total} killed. {len(same)} more are the same program; with them {gross:.1f} %"
    )
    return 0 if score >= least else 1


if __name__ == "__main__":
    sys.exit(main())
