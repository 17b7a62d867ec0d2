"""The mutants of `decide`: which modules and functions it is made of, and every change to them, each with a name of its own."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.mutation.operators import sites

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = (
    "ledger",
    "books",
    "charges",
    "refunds",
    "corrections",
    "gifts",
    "standing",
    "gift_code",
    "topup",
    "task",
    "registry",
)
COMMANDS = ("charges", "codes", "limits", "quota", "rebates", "registry", "tasks", "topups")
NO_BEHAVIOUR = ("__all__", "Status")
"""A list for readers, and a type: neither is asked at run time."""
OF_ACCOUNTS = ("asset_of", "is_guarded", "sums_to_zero")
OF_COMMANDS = ("accounts", "streams", "rebate_streams", "credited", "inviter")


class Mutant(NamedTuple):
    """One change to one module. `number` finds it again in the same text of the module."""

    module: str
    number: int
    line: int
    what: str
    occurrence: int
    """Which of several that read the same on their line, from 0."""

    @property
    def path(self) -> str:
        return f"{self.module.replace('.', '/')}.py"

    @property
    def name(self) -> str:
        """The same in every run on the same text."""
        which = f" (number {self.occurrence + 1})" if self.occurrence else ""
        return f"{self.path}:{self.line}: {self.what}{which}"


def modules() -> dict[str, Callable[[str], bool]]:
    """Each module, and which of its names belong to `decide`."""
    found: dict[str, Callable[[str], bool]] = {
        f"domain.{name}": lambda name: name not in NO_BEHAVIOUR for name in EVERYTHING
    }
    found["domain.accounts"] = lambda name: name in OF_ACCOUNTS
    for name in COMMANDS:
        found[f"domain.commands.{name}"] = lambda name: name in OF_COMMANDS
    return found


def source(module: str) -> str:
    return (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def digest(module: str) -> str:
    """Of the module's text: a verdict holds for this text only."""
    return hashlib.sha256(source(module).encode()).hexdigest()[:16]


def mutants(module: str) -> list[Mutant]:
    found: list[Mutant] = []
    seen: dict[tuple[int, str], int] = {}
    for number, site in enumerate(sites(ast.parse(source(module)), modules()[module])):
        what = site.what
        occurrence = seen[site.line, what] = seen.get((site.line, what), -1) + 1
        found.append(Mutant(module, number, site.line, what, occurrence))
    return found


def mutated(mutant: Mutant) -> ast.Module:
    """The module's tree with the one change in it."""
    tree = ast.parse(source(mutant.module))
    for number, site in enumerate(sites(tree, modules()[mutant.module])):
        if number == mutant.number:
            site.make()
            break
    return ast.fix_missing_locations(tree)
