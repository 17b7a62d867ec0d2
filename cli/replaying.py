"""`veloera replay`: read models folded again from the first fact, compared with the live ones or put in their place, and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from cli.failures import ExitCode, Misused
from cli.opening import caught_up, environment, opened
from cli.output import emit, example, json_option, progress, say, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.compose import Books
    from api.settings import Environment
    from projections.pace import Pace
    from projections.parts import Part
    from projections.replay import Progress, ReplayReport

PAUSE_MS = 20
"""After a page, which takes two or three times as long: what it leaves of a core is enough for calls that come in between."""
MAX_PROCESSES = 8
LINE_EVERY_S = 10.0


@click.command(
    epilog=example(
        "veloera replay", "veloera replay --processes 2 --pause-ms 0", "veloera replay --fresh", "veloera replay --back"
    )
)
@click.option("--fresh", is_flag=True, help="Put the new read models in the place of the live ones, which are kept.")
@click.option("--back", is_flag=True, help="Put the read models back that were live before the last --fresh.")
@click.option("--no-compare", is_flag=True, help="With --fresh: do not look first in which rows the live ones differ.")
@click.option("--restart", is_flag=True, help="Begin anew, and not where an interrupted replay was.")
@click.option(
    "--processes",
    type=click.IntRange(1, MAX_PROCESSES),
    default=1,
    show_default=True,
    help="Fold by several processes, each some of the read models.",
)
@click.option(
    "--pause-ms",
    type=click.IntRange(0, 10_000),
    default=PAUSE_MS,
    show_default=True,
    help="Rest after each page of facts: the more, the less live traffic notices.",
)
@click.option("--part", is_flag=True, hidden=True, help="Fold what standard input says, for a replay by several.")
@json_option
def replay(
    *,
    fresh: bool,
    back: bool,
    no_compare: bool,
    restart: bool,
    processes: int,
    pause_ms: int,
    part: bool,
    as_json: bool,
) -> None:
    """Fold every read model again beside the live ones, and compare; exits 1 when a row differs.

    Serving goes on meanwhile, and comes first. A replay that was interrupted goes on where it was. When rows differ, what was
    built is kept: --fresh puts it in place. --fresh exits 0 whatever differed, since what is live then is what the facts say.
    """
    if part:
        _fold_part()
        return
    from projections.pace import Pace

    pace = Pace(pause_ms / 1000, idle=True)
    if no_compare and not fresh:
        raise Misused("--no-compare goes with --fresh: without both there is nothing to do")
    if back and (fresh or restart):
        raise Misused("--back takes a --fresh back: give one of them")
    with opened() as books:
        if back:
            _switch_back(books, pace, as_json=as_json)
            return
        report = _replayed(books, pace, fresh=fresh, comparing=not no_compare, restart=restart, processes=processes)
    if as_json:
        emit(_record(report))
    else:
        _say(report)
    if not report.is_same and not report.switched:
        raise click.exceptions.Exit(ExitCode.DIFFERENCE)


def _replayed(books: Books, pace: Pace, *, fresh: bool, comparing: bool, restart: bool, processes: int) -> ReplayReport:
    from projections.replay import replay as replayed

    if not fresh:
        caught_up(books)
    settings = environment()
    with progress(books.store.head(), "Replaying") as bar:
        return replayed(
            books.read.place,
            books.store,
            books.vault,
            fresh=fresh,
            comparing=comparing,
            restart=restart,
            processes=processes,
            start=lambda part: _started(settings, part, pace),
            pace=pace,
            progress=_shown(bar),
        )


def _switch_back(books: Books, pace: Pace, *, as_json: bool) -> None:
    from projections.replay import switch_back

    with progress(books.store.head(), "Catching up") as bar:
        position = switch_back(books.read.place, books.store, books.vault, pace=pace, progress=_shown(bar))
    if as_json:
        emit({"switched_back": True, "position": position})
    else:
        say(f"The read models that were live before are live again, caught up to position {position:,}.")


def _shown(bar: Any) -> Callable[[Progress], None]:
    """Moves a bar on, which shows the rate beside it; without a terminal a line says so from time to time."""
    bar.item_show_func = lambda rate: f"{rate:,.0f} facts/s" if rate else None
    seen, told_at = 0, monotonic()

    def told(said: Progress) -> None:
        nonlocal seen, told_at
        bar.update(max(0, said.position - seen), said.facts_per_s)
        seen = max(seen, said.position)
        if bar.hidden and monotonic() - told_at > LINE_EVERY_S:
            told_at = monotonic()
            warn(f"Position {said.position:,} of {said.goal:,}, {said.facts_per_s:,.0f} facts/s.")

    return told


def _started(settings: Environment, part: Part, pace: Pace) -> subprocess.Popen[bytes]:
    """Another process of a replay. Told, not left to read the environment, as the projector is: a third of the memory."""
    told = {
        "folder": str(settings.data_dir.resolve()),
        "crypto_secret": settings.crypto_secret,
        "sql_dsn": settings.sql_dsn,
        "part": part,
        "pause_s": pace.pause_s,
    }
    # `-P`: a folder named like one of our packages must not come first on the path.
    command = [sys.executable, "-P", "-m", "cli", "replay", "--part"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None, "it was asked for"
    with process.stdin as told_to:
        told_to.write(json.dumps(told).encode() + b"\n")
    return process


def _fold_part() -> None:
    import msgspec

    from ledger.place import open_store
    from ledger.vault import open_vault
    from projections.pace import Pace
    from projections.parts import Part, Said, fold_part
    from projections.places import read_place

    told = json.loads(sys.stdin.readline())
    folder, dsn = Path(told["folder"]), told["sql_dsn"]
    store = open_store(folder, dsn)
    encode = msgspec.json.Encoder().encode

    def said(line: Said) -> None:
        click.echo(encode(line))

    try:
        vault = open_vault(store, folder, told["crypto_secret"])
        number, names, goal = told["part"]
        part = Part(number, tuple(names), goal)
        fold_part(read_place(folder, dsn), store, vault, part, Pace(told["pause_s"], idle=True), said)
    finally:
        store.close()


def _record(report: ReplayReport) -> dict[str, object]:
    return {
        "same": report.is_same,
        "switched": report.switched,
        "position": report.position,
        "resumed_at": report.resumed_at,
        "facts": report.facts,
        "seconds": round(report.seconds, 3),
        "facts_per_s": round(report.facts_per_s),
        "peak_mb": round(report.peak_mb),
        "digest": report.digest,
        "tables": [
            {"table": table.table, "rows": table.rows, "differences": table.differences} for table in report.tables
        ],
        "examples": [difference._asdict() for table in report.tables for difference in table.examples],
    }


def _say(report: ReplayReport) -> None:
    done = (
        f"{report.facts:,} facts up to position {report.position:,} in {report.seconds:.1f} s: "
        f"{report.facts_per_s:,.0f} facts/s, {report.peak_mb:.0f} MB at most"
    )
    if report.resumed_at:
        say(f"Went on at position {report.resumed_at:,}, where an interrupted replay had been.")
    for table in report.tables:
        if table.differences:
            say(f"{table.table}: {table.differences:,} rows differ, first {table.examples[0]}")
    if report.switched:
        say(f"The read models were built anew from {done}. `veloera replay --back` takes that back.")
    elif report.is_same:
        rows = sum(table.rows for table in report.tables)
        say(f"The read models say what their facts say: {rows:,} rows from {done}.")
    else:
        say(f"Compared with {done}. Put what was built in their place with `veloera replay --fresh`.")
