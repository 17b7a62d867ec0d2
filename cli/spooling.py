"""`veloera ledger spool`: what waits on this machine for the database to come back, and the committing of it."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import click

from cli.failures import ExitCode
from cli.opening import environment, opened
from cli.output import emit, example, json_option, listing, say

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.spool_survey import Survey

SPOOL_FOLDER = "spool"


@click.command(epilog=example("veloera ledger spool", "veloera ledger spool --drain"))
@click.option(
    "--drain", is_flag=True, help="Commit what processes that are gone left; exits 5 while the database is away."
)
@json_option
def spool(*, drain: bool, as_json: bool) -> None:
    """Show the ends of calls that were kept while the database was away: how many wait, since when, and what was refused.

    With PostgreSQL only; the embedded store is on the same disk. A gateway drains its own and what its dead left by itself.
    """
    from ledger.spool_survey import survey

    folder = environment().data_dir.resolve() / SPOOL_FOLDER
    drained = _drain(folder) if drain and folder.is_dir() else 0
    found = survey(folder)
    if as_json:
        emit(_record(found, drained))
    else:
        _say(found, drained, drain=drain)
    if any(file.damaged_bytes for file in found.files) or found.set_aside:
        raise click.exceptions.Exit(ExitCode.DIFFERENCE)


def _drain(folder: Path) -> int:
    """Commit what no living process has in charge; how many records were drained. Raises LedgerUnavailable."""
    from ledger.spool import drained_now

    with opened() as books:
        return drained_now(folder, books.writer)


def _record(found: Survey, drained: int) -> dict[str, object]:
    return {
        "waiting": sum(file.records for file in found.files),
        "age_s": _age_s(found),
        "refused": found.refused,
        "drained": drained,
        "set_aside": found.set_aside,
        "files": [file._asdict() for file in found.files],
    }


def _age_s(found: Survey) -> float:
    kept_at = [file.oldest_at_ms for file in found.files if file.oldest_at_ms]
    return round(max(0.0, time() - min(kept_at) / 1000), 1) if kept_at else 0.0


def _say(found: Survey, drained: int, *, drain: bool) -> None:
    if drain:
        say(f"{drained:,} records were drained.")
    waiting = sum(file.records for file in found.files)
    if waiting:
        say(f"{waiting:,} ends of calls wait for the database, the oldest for {_age_s(found):,.0f} s.")
        listing(
            [{"file": file.name, "records": file.records, "in_charge": file.is_alive} for file in found.files],
            ("file", "records", "in_charge"),
            as_json=False,
        )
    else:
        say("Nothing waits.")
    if found.refused:
        say(f"{found.refused:,} records were refused; they are in {SPOOL_FOLDER}/refused.jsonl, with the reasons.")
    if found.set_aside:
        say(f"Damaged, and kept for you to look at: {', '.join(found.set_aside)}")
