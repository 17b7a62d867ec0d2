"""One mutant against the laws, in a forked child: killed, survived, or out of time.

Where a mutant changes one function, the child is forked from a collected test session and the function gets the mutant's code.
Where it changes what runs at import, the child is forked from a process that has not imported the domain, and imports the mutant.
"""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.mutation.mutants import ROOT, Mutant, mutated
from tests.mutation.swapping import swap

Verdict = Literal["killed", "survived", "timeout"]

LAWS = (
    "tests/domain/test_accounts.py",
    "tests/laws/test_rules.py",
    "tests/laws/test_once.py",
    "tests/laws/test_edges.py",
    "tests/laws/test_standing.py",
    "tests/laws/test_refunds.py",
    "tests/laws/test_gifts.py",
    "tests/laws/test_codes.py",
    "tests/laws/test_registry.py",
    "tests/laws/test_payments.py",
    "tests/laws/test_incumbents.py",
    "tests/laws/test_decide.py",
    "tests/laws/test_batches.py",
)
"""From the quick to the thorough: most mutants die in the first second."""
QUIET = ("-x", "-s", "--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=0")
PROCESSES = 2
MOST_MEMORY_BYTES = 2 * 2**30
WAITING = 20
"""A child that sleeps is ended after this many times the CPU it may use."""
SURVIVED, KILLED, NO_VERDICT = range(3)


class Bounds(NamedTuple):
    """How thoroughly the laws are asked: of the examples that the suite draws, from which seed, for how much CPU."""

    percent: int
    seed: int
    most_cpu_s: int


class Trial(NamedTuple):
    """What became of a mutant, and what it took: `cpu_s` of the child alone, whatever else the machine does."""

    verdict: Verdict
    cpu_s: float


Tried = tuple[Mutant | None, Trial]


def freshly(mutants: Sequence[Mutant | None], bounds: Bounds) -> Iterator[Tried]:
    """Try mutants that change what runs at import; None is the code as it is. Nothing of the domain may be imported yet."""
    imported = any(name.partition(".")[0] == "domain" for name in sys.modules)
    assert not imported, "the domain was imported before the mutant"

    def live(mutant: Mutant | None) -> int:
        if mutant is not None:
            sys.meta_path.insert(0, _Instead(mutant.module, mutated(mutant)))
        code = pytest.main([*_options(), *_laws()], plugins=[_Ready(bounds)])
        assert code not in {pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED}, "the laws were not run"
        return SURVIVED if code == pytest.ExitCode.OK else KILLED

    yield from _forked(mutants, live, bounds)


def swapped(mutants: Sequence[Mutant | None], bounds: Bounds, told: Callable[[Tried], None]) -> None:
    """Try mutants that change one function each, from one collected session; `told` hears of each."""
    code = pytest.main([*_options(), *_laws()], plugins=[_Ready(bounds), _Loop(mutants, bounds, told)])
    assert code == pytest.ExitCode.OK, f"the laws could not be collected: {code}"


class _Ready:
    """Before the laws are imported: how many examples they draw, from which seed. A failure needs no smaller example here."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    def pytest_sessionstart(self) -> None:
        os.environ.update(LEDGER_SEED=str(self._bounds.seed), LAW_PERCENT=str(self._bounds.percent))
        settings.register_profile("mutation", phases=(Phase.explicit, Phase.generate), print_blob=False)
        settings.load_profile("mutation")
        settings(max_examples=5, database=None)(given(st.integers(), st.text())(lambda number, text: None))()


class _Loop:
    """In place of pytest's own: every mutant is a fork of the session as it was collected."""

    def __init__(self, mutants: Sequence[Mutant | None], bounds: Bounds, told: Callable[[Tried], None]) -> None:
        self._mutants, self._bounds, self._told = mutants, bounds, told

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        def live(mutant: Mutant | None) -> int:
            if mutant is not None:
                swap(mutant)
            for item, following in zip(session.items, [*session.items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    return KILLED
            return SURVIVED

        gc.collect()
        gc.freeze()
        for each in _forked(self._mutants, live, self._bounds):
            self._told(each)
        return True


def _forked(mutants: Sequence[Mutant | None], live: Callable[[Mutant | None], int], bounds: Bounds) -> Iterator[Tried]:
    waiting, running = list(reversed(mutants)), dict[int, Mutant | None]()
    while waiting or running:
        while waiting and len(running) < PROCESSES:
            mutant = waiting.pop()
            child = os.fork()
            if child == 0:
                try:
                    _bound(bounds)
                    os._exit(live(mutant))
                finally:
                    os._exit(NO_VERDICT)
            running[child] = mutant
        child, status, used = os.wait4(-1, 0)
        if child in running:
            mutant = running.pop(child)
            yield mutant, Trial(_verdict(mutant, status), used.ru_utime + used.ru_stime)


def _verdict(mutant: Mutant | None, status: int) -> Verdict:
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) in {signal.SIGXCPU, signal.SIGALRM} else "killed"
    if os.WEXITSTATUS(status) == NO_VERDICT:
        raise RuntimeError(f"no law was asked about {mutant.name if mutant else 'the code as it is'}")
    return "survived" if os.WEXITSTATUS(status) == SURVIVED else "killed"


def _bound(bounds: Bounds) -> None:
    signal.alarm(bounds.most_cpu_s * WAITING)
    resource.setrlimit(resource.RLIMIT_CPU, (bounds.most_cpu_s, bounds.most_cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _options() -> list[str]:
    return [*QUIET, "--assert=plain", "--tb=no", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def _laws() -> list[str]:
    return [str(ROOT / law) for law in LAWS]


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a tree in place of one module's source."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self._module, self._tree = module, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self._tree, f"<{self._module}, mutated>", "exec"), module.__dict__)
