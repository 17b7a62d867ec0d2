"""`veloera replay`: read models folded again from the first fact, compared with the live ones or put in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.failures import ExitCode
from cli.opening import caught_up, opened
from cli.output import emit, example, json_option, progress, say

if TYPE_CHECKING:
    from projections.replay import ReplayReport


@click.command(epilog=example("veloera replay", "veloera replay --fresh"))
@click.option("--fresh", is_flag=True, help="Put the new read models in the place of the live ones.")
@json_option
def replay(*, fresh: bool, as_json: bool) -> None:
    """Fold every read model again beside the live ones, and compare; exits 1 when a row differs.

    Serving goes on meanwhile.
    """
    from projections.replay import replay as replayed

    with opened() as books:
        if not fresh:
            caught_up(books)
        with progress(books.store.head(), "Replaying") as bar:
            seen = 0

            def moved(position: int, _goal: int) -> None:
                nonlocal seen
                bar.update(position - seen)
                seen = position

            report = replayed(books.folder, books.store, books.vault, fresh=fresh, progress=moved)
    if as_json:
        emit(_record(report))
    else:
        _say(report)
    if not report.is_same:
        raise click.exceptions.Exit(ExitCode.DIFFERENCE)


def _record(report: ReplayReport) -> dict[str, object]:
    return {
        "same": report.is_same,
        "switched": report.switched,
        "position": report.position,
        "facts": report.facts,
        "seconds": round(report.seconds, 3),
        "digest": report.digest,
        "tables": [
            {"table": table.table, "rows": table.rows, "differences": table.differences} for table in report.tables
        ],
        "examples": [difference._asdict() for table in report.tables for difference in table.examples],
    }


def _say(report: ReplayReport) -> None:
    done = f"{report.facts:,} facts up to position {report.position:,} in {report.seconds:.1f} s"
    if report.switched:
        say(f"The read models were built anew from {done}.")
    elif report.is_same:
        rows = sum(table.rows for table in report.tables)
        say(f"The read models say what their facts say: {rows:,} rows from {done}.")
    else:
        for table in report.tables:
            if table.differences:
                say(f"{table.table}: {table.differences:,} rows differ, first {table.examples[0]}")
        say(f"Compared with {done}. Build the read models anew with `veloera replay --fresh`.")
