"""A ledger in a file: JSON Lines that any language can read, and that show by themselves whether they are whole.

    header    what the file begins after, and the public keys of its blocks
    fact      position, stream, version, topic, and the stored bytes as text (base64 where they are not UTF-8)
    seal      a block, behind the last of its facts
    key       a key of the vault, as it is stored: wrapped by CRYPTO_SECRET       } only where asked for
    secret    an entry of the vault, as it is stored: sealed by a key of the vault }
    totals    how many of each there are, and how balances and open holds stand
    footer    the SHA-256 of all lines before it

Without the last two kinds no secret is in it, sealed or not: facts name secrets by reference. A file whose first bytes are gzip's
is unpacked as it is read.
"""

import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import msgspec

from ledger.errors import ArchiveBroken
from ledger.merkle import HASH_BYTES
from ledger.seal_keys import id_of
from ledger.seal_shapes import PUBLIC_BYTES, BlockShape, bytes_of, seal_of, unhex, whole
from ledger.seals import Cut
from ledger.store import Seal, StoredFact

FORMAT = "veloera-archive/1"
MAX_LINE_BYTES = 64 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"


class VaultKey(NamedTuple):
    """A wrapped key of the vault."""

    name: str
    wrapped: bytes


class VaultEntry(NamedTuple):
    """A sealed entry of the vault."""

    ref: str
    sealed: bytes


Item = StoredFact | Seal | VaultKey | VaultEntry


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="line"):
    """One object on one line; `line` says which kind."""


class CutShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The block before the first that is in the file; number 0 at the beginning of a ledger."""

    number: int
    last: int
    at_ms: int
    hash: str


class Header(_Line, frozen=True, tag="header"):
    format: str
    at_ms: int
    head: int
    """The position of its last fact."""
    begin: CutShape
    keys: dict[str, str]
    """Public keys by id, hex."""

    def cut(self) -> Cut:
        """Raises ValueError."""
        begin = self.begin
        return Cut(whole(begin.number), whole(begin.last), whole(begin.at_ms), unhex(begin.hash, HASH_BYTES))

    def public_keys(self) -> dict[str, bytes]:
        """Raises ValueError."""
        keys = {key_id: unhex(public, PUBLIC_BYTES) for key_id, public in self.keys.items()}
        if any(id_of(public) != key_id for key_id, public in keys.items()):
            raise ValueError("a public key goes by another's id")
        return keys

    @property
    def is_whole(self) -> bool:
        """True when it begins with the ledger's first fact."""
        return self.begin.number == 0


class FactLine(_Line, frozen=True, tag="fact"):
    position: int
    stream: str
    version: int
    topic: str
    state: str = ""
    state_base64: str = ""


class SealLine(_Line, frozen=True, tag="seal"):
    block: BlockShape


class KeyLine(_Line, frozen=True, tag="key"):
    name: str
    wrapped: bytes


class SecretLine(_Line, frozen=True, tag="secret"):
    ref: str
    sealed: bytes


class Counts(msgspec.Struct, forbid_unknown_fields=True):
    """How many lines of each kind there are."""

    facts: int = 0
    seals: int = 0
    keys: int = 0
    secrets: int = 0

    def add(self, item: Item) -> None:
        match item:
            case StoredFact():
                self.facts += 1
            case Seal():
                self.seals += 1
            case VaultKey():
                self.keys += 1
            case VaultEntry():
                self.secrets += 1


class Totals(_Line, frozen=True, tag="totals"):
    counts: Counts
    standing: str
    """Of balances and open holds: `ledger.standing.digest_of`."""


class Footer(_Line, frozen=True, tag="footer"):
    sha256: str


Line = Header | FactLine | SealLine | KeyLine | SecretLine | Totals | Footer

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode(line: Line) -> bytes:
    """A line with its end."""
    return _encoder.encode(line) + b"\n"


class Archive:
    """An archive as it is read, line by line. `totals` are there once `items` has ended."""

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._digest = sha256()
        self._number = 0
        self.counts = Counts()
        self.totals: Totals | None = None
        line = self._next()
        if not isinstance(line, Header) or line.format != FORMAT:
            raise ArchiveBroken(f"the first line is no header of the format {FORMAT}")
        self.header = line
        with self._telling():
            self.begin, self.keys = line.cut(), line.public_keys()

    def items(self) -> Iterator[Item]:
        """Everything in it, in its order. Raises ArchiveBroken, at the latest at the end, when anything is not as it was written."""
        while not isinstance(line := self._next(), Totals):
            with self._telling():
                item = _item_of(line)
            self.counts.add(item)
            yield item
        if line.counts != self.counts:
            raise ArchiveBroken(f"line {self._number}: it counts {line.counts}, there are {self.counts}")
        if not isinstance(self._next(), Footer) or self._lines.read(1):
            raise ArchiveBroken("it does not end with a footer")
        self.totals = line

    def _next(self) -> Line:
        self._number += 1
        read = self._lines.readline(MAX_LINE_BYTES)
        if not read.endswith(b"\n"):
            raise ArchiveBroken(f"line {self._number}: the file ends before its footer")
        with self._telling():
            try:
                line = _decoder.decode(read)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ValueError(str(error)) from error
        if isinstance(line, Footer) and (line.sha256 != self._digest.hexdigest() or encode(line) != read):
            raise ArchiveBroken(f"line {self._number}: the lines before the footer are not those that were written")
        self._digest.update(read)
        return line

    @contextmanager
    def _telling(self) -> Generator[None]:
        """What is wrong with a line, with its number."""
        try:
            yield
        except ValueError as error:
            raise ArchiveBroken(f"line {self._number}: {error}") from error


def _item_of(line: Line) -> Item:
    match line:
        case FactLine():
            state = bytes_of(line.state, line.state_base64)
            return StoredFact(whole(line.position), line.stream, whole(line.version), line.topic, state)
        case SealLine():
            return seal_of(line.block)
        case KeyLine():
            return VaultKey(line.name, line.wrapped)
        case SecretLine():
            return VaultEntry(line.ref, line.sealed)
        case _:
            raise ValueError("a header or a footer where none belongs")


@contextmanager
def opened(path: Path) -> Generator[Archive]:
    """An archive to be read. Raises ArchiveBroken, from here and from whatever reads on."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        lines = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed else file
        try:
            yield Archive(lines)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ArchiveBroken(f"it does not unpack: {error}") from error
