"""Checking an archive with no database: its sums, its blocks and their signatures, and the arithmetic of its facts."""

from collections.abc import Callable
from pathlib import Path

from domain.accounts import is_guarded
from domain.books import Guard
from ledger.archive import Archive, opened
from ledger.errors import ArchiveBroken
from ledger.standing import digest_of
from ledger.store import Seal, StoredFact
from ledger.verify import PAGE_FACTS, Report, report_of
from ledger.verify_log import Differences, LogCheck
from ledger.verify_seals import BlockCheck, Trust


def verify_archive(
    path: Path, trust: Trust, key_ids: frozenset[str] = frozenset(), progress: Callable[[int, int], None] | None = None
) -> Report:
    """What differs in an archive. `key_ids` are trusted as well, with the public keys that the archive has for them.

    An archive that does not begin with the ledger's first fact has only its facts and blocks checked: balances need them all.
    """
    differences = Differences()
    try:
        with opened(path) as archive:
            return _verify(archive, trust, key_ids, differences, progress)
    except ArchiveBroken as error:
        differences.add(path.name, str(error))
    return Report(0, 0, 0, 0, {}, tuple(differences.found))


def _verify(
    archive: Archive,
    trust: Trust,
    key_ids: frozenset[str],
    differences: Differences,
    progress: Callable[[int, int], None] | None,
) -> Report:
    header = archive.header
    log = LogCheck(differences, whole=header.is_whole)
    log.position = archive.begin.last
    blocks = _vouched(trust, archive, key_ids).check(differences, archive.begin)
    broken = _read(archive, log, blocks, progress)
    if broken is not None:
        differences.add("the archive", str(broken))
    elif log.position != header.head and log.facts:
        differences.add("the archive", f"its header names position {header.head}, its last fact is at {log.position}")
    if header.is_whole and archive.totals is not None and archive.totals.standing != _standing(log):
        differences.add("the archive", "its facts do not leave the balances and holds that it was written with")
    sealed = blocks.finish()
    if header.is_whole:
        return report_of(log, differences, sealed)
    return Report(log.facts, log.position, 0, 0, {}, tuple(differences.found), sealed, is_part=True)


def _read(
    archive: Archive, log: LogCheck, blocks: BlockCheck, progress: Callable[[int, int], None] | None
) -> ArchiveBroken | None:
    """Read to the end, or to where it breaks."""
    try:
        for item in archive.items():
            if isinstance(item, StoredFact):
                log.read(item)
            if isinstance(item, StoredFact | Seal):
                blocks.read(item)
            if progress is not None and archive.counts.facts % PAGE_FACTS == 0:
                progress(log.position, archive.header.head)
    except ArchiveBroken as error:
        return error
    if progress is not None:
        progress(archive.header.head, archive.header.head)
    return None


def _vouched(trust: Trust, archive: Archive, key_ids: frozenset[str]) -> Trust:
    named = {key_id: public for key_id, public in archive.keys.items() if key_id in key_ids}
    return Trust({**trust.keys, **named}, trust.anchors)


def _standing(log: LogCheck) -> str:
    balances = (
        (account, Guard(total, log.floors.get(account, 0)))
        for account, total in log.sums.items()
        if is_guarded(account)
    )
    return digest_of(balances, (held.hold for held in log.holds.values()))
