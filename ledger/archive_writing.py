"""Writing a ledger to an archive, from one snapshot and page by page, while it serves."""

import gzip
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from ledger.archive import (
    FORMAT,
    Counts,
    CutShape,
    FactLine,
    Footer,
    Header,
    Item,
    KeyLine,
    Line,
    SealLine,
    SecretLine,
    Totals,
    VaultEntry,
    VaultKey,
    encode,
)
from ledger.errors import StoreRefused
from ledger.seal_keys import PublicKeys
from ledger.seal_shapes import shape_of, texts_of
from ledger.seals import FIRST_POSSIBLE, Cut, as_written, end_before, sealed_log
from ledger.standing import digest_in
from ledger.store import LedgerReader, LedgerStore, Seal, StoredFact

PAGE_ENTRIES = 1000
PROGRESS_FACTS = 5000
GZIP_LEVEL = 6


class Written(NamedTuple):
    """What an archive holds, and the sum of its lines that its footer states."""

    counts: Counts
    sha256: str


def export(
    store: LedgerStore,
    out: BinaryIO,
    keys: PublicKeys,
    at_ms: int,
    *,
    after: int = 0,
    with_vault: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write the ledger as it is at one moment.

    With `after`, from the block that the fact behind that position is in: an archive begins where a block does. `keys` go into the
    header for whoever reads it; they are trusted there only if named. Raises StoreRefused for facts that are not as they were written.
    """
    with store.snapshot() as reader:
        begin = end_before(reader, after)
        head = reader.head()
        writing = _Writing(out)
        hexed = {key_id: public.hex() for key_id, public in keys.items()}
        writing.line(Header(FORMAT, at_ms, head, _shape(begin), hexed))
        for item in _items(reader, begin, with_vault=with_vault):
            writing.item(item)
            if progress is not None and isinstance(item, StoredFact) and writing.counts.facts % PROGRESS_FACTS == 0:
                progress(item.position, head)
        writing.line(Totals(writing.counts, digest_in(reader)))
    written = Written(writing.counts, writing.digest())
    writing.line(Footer(written.sha256))
    if progress is not None:
        progress(head, head)
    return written


class _Writing:
    """Counts and sums what is written."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._digest = sha256()
        self.counts = Counts()

    def item(self, item: Item) -> None:
        self.counts.add(item)
        self.line(_line_of(item))

    def line(self, line: Line) -> None:
        written = encode(line)
        self._digest.update(written)
        self._out.write(written)

    def digest(self) -> str:
        return self._digest.hexdigest()


def _items(reader: LedgerReader, begin: Cut, *, with_vault: bool) -> Iterator[Item]:
    whole = begin.number == 0
    yield from sealed_log(
        reader, after=FIRST_POSSIBLE if whole else begin.last, after_block=FIRST_POSSIBLE if whole else begin.number
    )
    if not with_vault:
        return
    yield from (VaultKey(name, wrapped) for name, wrapped in sorted(reader.keyring().items()))
    after = ""
    while entries := reader.secrets(after, PAGE_ENTRIES):
        yield from (VaultEntry(ref, sealed) for ref, sealed in entries)
        after = entries[-1][0]


def _line_of(item: Item) -> Line:
    match item:
        case StoredFact():
            if not as_written(item):
                raise StoreRefused(
                    f"position {item.position} is not as it was written: run `veloera ledger verify --full`"
                )
            return FactLine(item.position, item.stream, item.version, item.topic, *texts_of(item.state))
        case Seal():
            if not as_written(item):
                raise StoreRefused(f"block {item.number} is not as it was written: run `veloera ledger verify --full`")
            return SealLine(shape_of(item))
        case VaultKey():
            return KeyLine(item.name, item.wrapped)
        case VaultEntry():
            return SecretLine(item.ref, item.sealed)


def _shape(cut: Cut) -> CutShape:
    return CutShape(cut.number, cut.last, cut.at, cut.hash.hex())


@contextmanager
def written_whole(path: Path) -> Generator[BinaryIO]:
    """A file that appears under its name once it is complete and on the disk; packed with gzip where the name ends in `.gz`."""
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
                    yield cast("BinaryIO", packed)
            else:
                yield file
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
        _sync_folder(path.parent)
    finally:
        made.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
