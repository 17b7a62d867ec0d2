"""`veloera ledger export` and `import`: a ledger in a file, and a ledger from one."""

from __future__ import annotations

import sys
import time
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.failures import ExitCode, Failure, Refused
from cli.opening import environment, opened_store
from cli.output import answer, emit, example, json_option, warn
from cli.sealing import trust_of, trust_option
from cli.verifying import record_of, say_report, telling, trust_in

if TYPE_CHECKING:
    from typing import BinaryIO

    from api.settings import Environment
    from ledger.archive_writing import Written
    from ledger.verify import Report


@click.command(
    epilog=example(
        "veloera ledger export ledger.jsonl.gz", "veloera ledger export - --after 120000 --json | gzip > rest.gz"
    )
)
@click.argument("file", metavar="FILE|-", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--after", default=0, type=click.IntRange(0), help="Begin with the block that the fact after this position is in."
)
@click.option(
    "--with-vault",
    is_flag=True,
    help="Also what is secret or personal, still sealed: CRYPTO_SECRET (or secret.key) opens it, and is not in the file.",
)
@json_option
def export(file: Path, after: int, *, with_vault: bool, as_json: bool) -> None:
    """Write the ledger to an archive: every fact byte for byte, and every block. Packed where FILE ends in .gz; - is stdout.

    It may run while calls are served. Without --with-vault there are no secrets in it: facts name them by reference.
    """
    from ledger.archive_writing import written_whole

    if str(file) == "-":
        written = _exported(sys.stdout.buffer, after, with_vault=with_vault)
    else:
        with written_whole(file) as out:
            written = _exported(out, after, with_vault=with_vault)
    counts = written.counts
    record = {
        "file": str(file),
        "facts": counts.facts,
        "blocks": counts.seals,
        "secrets": counts.secrets,
        "sha256": written.sha256,
    }
    text = f"Wrote {counts.facts:,} facts, {counts.seals:,} blocks and {counts.secrets:,} secrets to {file}."
    if str(file) == "-":
        warn(text)  # what is on stdout is the archive
        return
    answer(record, text, as_json=as_json)


def _exported(out: BinaryIO, after: int, *, with_vault: bool) -> Written:
    from ledger.archive_writing import export as exported

    keys, _ = trust_of(environment())
    now = time.time_ns() // 1_000_000
    with opened_store() as store, telling(store.head(), "Writing") as moved:
        return exported(store, out, keys, now, after=after, with_vault=with_vault, progress=moved)


@click.command("import", epilog=example("veloera ledger import ledger.jsonl.gz --trust seal.pub"))
@click.argument("file", type=click.Path(exists=True, path_type=Path, dir_okay=False))
@trust_option
@json_option
def read_back(file: Path, trusted: tuple[str, ...], *, as_json: bool) -> None:
    """Fill an empty ledger from an archive: the same facts, bytes and blocks; balances and holds are computed anew.

    The archive is checked before anything is written, and the ledger afterwards. Its blocks must be signed by a key that is
    trusted here: name the key with --trust where this is another machine.
    """
    from ledger.verify_archive import verify_archive
    from ledger.verify_seals import Trust

    settings = environment()
    keys, ids = trust_of(settings, trusted)
    with telling(None, "Checking") as moved:
        checked = verify_archive(file, Trust(keys), ids, moved)
    if not checked.is_sound:
        raise Failure(f"nothing was read, {file} is not sound: {checked.differences[0]}")
    report = _restored(settings, file, keys.keys() | ids)
    if as_json:
        emit(record_of(report))
    else:
        say_report(report)
    if not report.is_sound:
        raise click.exceptions.Exit(ExitCode.DIFFERENCE)


def _restored(settings: Environment, file: Path, trusted: Set[str]) -> Report:
    """Fill the ledger in the data folder, and check it whole."""
    from ledger.archive import opened
    from ledger.errors import ArchiveBroken, NotEmpty
    from ledger.place import open_store
    from ledger.restore import filling_of, restore
    from ledger.seal_keys import KEY_FILE, make_key, remember
    from ledger.verify import verify as verified

    folder = settings.data_dir.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = open_store(folder, settings.sql_dsn)
    try:
        with opened(file) as archive:
            restore(filling_of(folder, settings.sql_dsn), archive)
        for key_id in archive.keys.keys() & trusted:
            remember(folder, archive.keys[key_id])
        if not settings.seal_key and not (folder / KEY_FILE).exists():
            make_key(folder)  # blocks go on under a key of this machine; those that are there keep theirs
        with telling(store.head(), "Verifying") as moved:
            return verified(store, moved, trust=trust_in(settings))
    except NotEmpty as error:
        raise Refused(str(error)) from None
    except ArchiveBroken as error:
        raise Failure(f"nothing was read: {error}") from None
    finally:
        store.close()
