"""Rows of the report: a figure, the unit beside it, the multiple of the unit, and whether the target is met.

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


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `unit_of` names what the unit is; `met` is None where nothing is asked."""

    name: str
    measure: str
    figure: Spread
    unit_of: str = ""
    unit: Spread | None = None
    multiple: Spread | None = None
    above: Spread | None = None
    """The figure minus the unit, where that is what the target is about."""
    target: str = ""
    met: bool | None = None
    note: str = ""

    def line(self) -> tuple[str, ...]:
        """The cells of the printed table."""
        unit = f"{self.unit_of} {self.unit.text()}" if self.unit else "-"
        multiple = f"{self.multiple.text()} x" if self.multiple else "-"
        if self.above:
            multiple += f", {self.above.text()} above"
        verdict = {True: "met", False: "NOT MET", None: ""}[self.met]
        return f"{self.name}, {self.measure}", self.figure.text(), unit, multiple, self.target, verdict, self.note


HEADINGS = ("row", "figure", "unit", "multiple", "target", "", "")


def compared(
    name: str,
    measure: str,
    figures: Sequence[float],
    unit_of: str,
    units: Sequence[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Row:
    """A row whose target, if it has one, is about the multiple; `figures` and `units` are of the same rounds."""
    multiple = Spread.of([figure / unit for figure, unit in zip(figures, units, strict=True)])
    target, met = "", None
    if at_most is not None:
        target, met = f"<= {at_most:g} x", multiple.median <= at_most
    elif at_least is not None:
        target, met = f">= {at_least:g} x", multiple.median >= at_least
    return Row(
        name=name,
        measure=measure,
        figure=Spread.of(figures),
        unit_of=unit_of,
        unit=Spread.of(units),
        multiple=multiple,
        target=target,
        met=met,
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
