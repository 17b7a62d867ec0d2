"""`veloera ledger verify`: the proof of it all, of a ledger or of an archive of one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

from cli import output
from cli.failures import ExitCode, Misused
from cli.opening import environment, opened_store
from cli.output import emit, example, json_option, progress, say
from cli.sealing import trust_of, trust_option
from domain.accounts import Asset, asset_of

if TYPE_CHECKING:
    from api.settings import Environment
    from ledger.verify import Report
    from ledger.verify_seals import Anchor, Trust

MAX_SAID = 20
ADVICE = {"ledger": " Stop serving, keep a copy, and compare it with your last back-up."}
Told = Callable[[int, int], None]


@click.command(
    epilog=example(
        "veloera ledger verify",
        "veloera ledger verify --full --anchor anchors.jsonl",
        "veloera ledger verify --archive ledger.jsonl.gz --trust seal.pub --json",
    )
)
@click.option("--full", is_flag=True, help="Check every sealed block as well: roots, signatures and the chain.")
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="FILE|HASH",
    help="A block that must be there, as `veloera ledger anchor` printed it, or a file of such lines. Means --full.",
)
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check this file, made by `veloera ledger export`, instead of the ledger.",
)
@trust_option
@json_option
def verify(
    anchors: tuple[str, ...], archive: Path | None, trusted: tuple[str, ...], *, full: bool, as_json: bool
) -> None:
    """Recompute every balance and open hold from the stored bytes; exits 1 when something differs.

    It may run while calls are served: it reads the ledger as it is at one moment.
    """
    settings = environment()
    began = monotonic()
    if archive is not None:
        report = _of_archive(settings, archive, trusted, anchors)
    else:
        report = _of_ledger(settings, trusted, anchors, full=full or bool(anchors) or bool(trusted))
    if as_json:
        emit(record_of(report))
    else:
        say_report(report, monotonic() - began, what="ledger" if archive is None else "archive")
    if not report.is_sound:
        raise click.exceptions.Exit(ExitCode.DIFFERENCE)


def _of_ledger(settings: Environment, trusted: Iterable[str], anchors: Iterable[str], *, full: bool) -> Report:
    from ledger.verify import verify as verified

    trust = trust_in(settings, trusted, anchors) if full else None
    with opened_store() as store, telling(store.head(), "Verifying") as moved:
        return verified(store, moved, trust=trust)


def _of_archive(settings: Environment, archive: Path, trusted: Iterable[str], anchors: Iterable[str]) -> Report:
    from ledger.verify_archive import verify_archive
    from ledger.verify_seals import Trust

    keys, ids = trust_of(settings, trusted)
    with telling(None, "Checking") as moved:
        return verify_archive(archive, Trust(keys, _anchors(anchors)), ids, moved)


def trust_in(settings: Environment, trusted: Iterable[str] = (), anchors: Iterable[str] = ()) -> Trust:
    """What a ledger is checked against: the keys, the anchors, and the block that this machine saw last."""
    from ledger.sealer import HEAD_FILE, read_head
    from ledger.verify_seals import Anchor, Trust

    keys, ids = trust_of(settings, trusted)
    if ids:
        raise Misused(
            f"{min(ids)} is the id of a key: name the file with the key itself, `veloera ledger seal-key` prints it"
        )
    head = read_head(settings.data_dir)
    seen = () if head is None else (Anchor(head.hash, head.number, HEAD_FILE),)
    return Trust(keys, (*_anchors(anchors), *seen))


def _anchors(named: Iterable[str]) -> tuple[Anchor, ...]:
    from ledger.verify_seals import anchors_from

    found: list[Anchor] = []
    for name in named:
        path = Path(name)
        try:
            is_file = len(name) < 4096 and path.is_file()
            found += anchors_from(
                path.read_text() if is_file else name, f"the anchor of {name}" if is_file else "the anchor"
            )
        except (ValueError, OSError) as error:
            raise Misused(f"--anchor: {error}") from None
    return tuple(found)


@contextmanager
def telling(length: int | None, label: str) -> Generator[Told]:
    """A progress bar for a log, by position. Without a length it is known when the first page was read."""
    with progress(length or 1, label) as bar:
        seen = 0

        def moved(position: int, head: int) -> None:
            nonlocal seen
            bar.length = max(1, head)
            bar.update(max(0, position - seen))
            seen = max(seen, position)

        yield moved


def record_of(report: Report) -> dict[str, object]:
    record: dict[str, object] = {
        "sound": report.is_sound,
        "facts": report.facts,
        "head": report.head,
        "accounts": report.accounts,
        "open_holds": report.open_holds,
        "totals_mills": _totals(report),
        "first_difference": str(report.differences[0]) if report.differences else None,
        "differences": [difference._asdict() for difference in report.differences],
    }
    if report.is_part:
        record["is_part"] = True
    if report.sealed is not None:
        newest = report.sealed.newest
        record |= {
            "blocks": report.sealed.blocks,
            "sealed_facts": report.sealed.facts,
            "unsealed_facts": report.sealed.unsealed,
            "newest_block": None if newest is None else {"block": newest.number, "hash": newest.hash.hex()},
        }
    return record


def _totals(report: Report) -> dict[str, int]:
    """Mills by platform account; ids handed out are no amounts."""
    return {account: total for account, total in report.totals.items() if asset_of(account) is not Asset.SEQ}


def say_report(report: Report, took_s: float = 0, *, what: str = "ledger") -> None:
    if report.is_sound:
        _say_counts(report)
        _say_blocks(report)
        if took_s:
            say(f"Read {report.facts / took_s:,.0f} facts a second.")
        output.listing(
            [{"account": account, "total_mills": total} for account, total in _totals(report).items()],
            ("account", "total_mills"),
            as_json=False,
        )
        return
    first, *others = report.differences
    say(f"The {what} differs from its events, first at {first}.")
    for difference in islice(others, MAX_SAID):
        say(f"  {difference}")
    say(f"{len(report.differences)} differences in {_counted(report)}.{ADVICE.get(what, '')}")


def _say_counts(report: Report) -> None:
    if report.is_part:
        say(
            f"Every fact is as it was written: {report.facts:,} facts, up to position {report.head:,}; a part of a ledger has no balances."
        )
    else:
        say(f"Every balance equals its events: {_counted(report)}, up to position {report.head:,}.")


def _counted(report: Report) -> str:
    return f"{report.facts:,} facts, {report.accounts:,} accounts, {report.open_holds:,} open holds"


def _say_blocks(report: Report) -> None:
    sealed = report.sealed
    if sealed is None:
        return
    if sealed.newest is None:
        say("Nothing is sealed yet.")
        return
    say(
        f"Every block is as it was sealed: {sealed.blocks:,} blocks with {sealed.facts:,} facts; {sealed.unsealed:,} came since."
    )
    say(f"The newest is block {sealed.newest.number:,}, {sealed.newest.hash.hex()}.")
