"""The verdicts of a run, one line each, so that a run that was cut short goes on where it stopped.

A verdict holds for the text of its module. A mutant that was killed stays killed when tests are added; one that survived is tried
again when asked for.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from tests.mutation.mutants import ROOT, Mutant

DEFAULT = Path(tempfile.gettempdir()) / "veloera-mutation" / "results.jsonl"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


class Line(msgspec.Struct, frozen=True):
    mutant: str
    digest: str
    """Of the module's text."""
    verdict: str
    seconds: float


class Equivalent(msgspec.Struct, frozen=True):
    """A mutant that no test can tell from the original, with the reason. The line is named by its text, which outlives its number."""

    path: str
    code: str
    what: str
    why: str


class Results:
    """The file and what it says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[str, str], str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            for text in path.read_bytes().splitlines():
                line = msgspec.json.decode(text, type=Line)
                self._known[line.mutant, line.digest] = line.verdict

    def verdict(self, mutant: Mutant, digest: str) -> str | None:
        return self._known.get((mutant.name, digest))

    def add(self, mutant: Mutant, digest: str, verdict: str, seconds: float) -> None:
        self._known[mutant.name, digest] = verdict
        line = Line(mutant.name, digest, verdict, round(seconds, 2))
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


def equivalents() -> list[Equivalent]:
    found = msgspec.toml.decode(EQUIVALENT.read_bytes(), type=dict[str, list[Equivalent]])
    return found.get("mutant", [])


def is_equivalent(mutant: Mutant, known: list[Equivalent]) -> bool:
    code = (ROOT / mutant.path).read_text(encoding="utf-8").splitlines()[mutant.line - 1].strip()
    return any((each.path, each.code, each.what) == (mutant.path, code, mutant.what) for each in known)
