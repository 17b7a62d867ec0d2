"""Rows of the report: a figure, the unit beside it, the multiple of the unit, and whether each target is met.

Everything is a median over rounds with its quartiles; a multiple is taken round by round, so that a slow spell of the
machine is in both of its terms.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def text(self) -> str:
        """The median with its quartiles in brackets; a single figure has none."""
        if self.low == self.high:
            return _short(self.median)
        return f"{_short(self.median)} [{_short(self.low)}..{_short(self.high)}]"


class Goal(msgspec.Struct, frozen=True):
    """A target in words, and whether it is met."""

    text: str
    met: bool

    @classmethod
    def at_most(cls, value: float, limit: float, unit: str) -> Goal:
        return cls(f"<= {limit:g} {unit}", value <= limit)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `unit_of` names what the unit is; there are no `goals` where nothing is asked."""

    name: str
    measure: str
    figure: Spread
    unit_of: str = ""
    unit: Spread | None = None
    multiple: Spread | None = None
    above: Spread | None = None
    """The figure minus the unit, where that is what the target is about."""
    goals: tuple[Goal, ...] = ()
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether nothing is missed."""
        return all(goal.met for goal in self.goals)

    def aiming(self, *goals: Goal) -> Row:
        """With these goals, too."""
        return msgspec.structs.replace(self, goals=self.goals + goals)

    def failed(self, failure: str) -> Row:
        """Not met, whatever its figure; as it is, where nothing failed."""
        if not failure:
            return self
        goals = tuple(Goal(goal.text, met=False) for goal in self.goals) or (Goal("no failed call", met=False),)
        return msgspec.structs.replace(self, goals=goals, note=failure)

    def line(self) -> tuple[str, ...]:
        """The cells of the printed table."""
        unit = f"{self.unit_of} {self.unit.text()}" if self.unit else "-"
        beside = [f"{self.multiple.text()} x"] if self.multiple else []
        beside += [f"{self.above.text()} above"] if self.above else []
        target = "; ".join(goal.text for goal in self.goals)
        verdict = "; ".join("met" if goal.met else "NOT MET" for goal in self.goals)
        return (
            f"{self.name}, {self.measure}",
            self.figure.text(),
            unit,
            ", ".join(beside) or "-",
            target,
            verdict,
            self.note,
        )


HEADINGS = ("row", "figure", "unit", "multiple", "target", "", "")


def compared(
    name: str,
    measure: str,
    figures: Sequence[float],
    unit_of: str,
    units: Sequence[float],
    *,
    at_most: Sequence[float] = (),
    at_least: Sequence[float] = (),
    note: str = "",
) -> Row:
    """A row whose targets, if it has any, are about the multiple; `figures` and `units` are of the same rounds."""
    multiple = Spread.of([figure / unit for figure, unit in zip(figures, units, strict=True)])
    goals = [Goal.at_most(multiple.median, limit, "x") for limit in at_most]
    goals += [Goal(f">= {limit:g} x", multiple.median >= limit) for limit in at_least]
    return Row(
        name=name,
        measure=measure,
        figure=Spread.of(figures),
        unit_of=unit_of,
        unit=Spread.of(units),
        multiple=multiple,
        goals=tuple(goals),
        note=note,
    )


def table(rows: Sequence[Row]) -> str:
    """The rows in columns, a line each."""
    lines = [HEADINGS, *(row.line() for row in rows)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in lines
    )


def _short(value: float) -> str:
    """Three significant figures or whole numbers: more would be noise."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
