"""Are the blocks the ones that were sealed? Every root recomputed from stored bytes, every signature, every link of the chain.

What lies behind the last block is not sealed yet. Whoever has the seal key can seal anything again: an *anchor*, the hash of a block
that somebody keeps elsewhere, tells.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from ledger.merkle import HASH_BYTES, Tree, leaf_of
from ledger.seal_keys import PublicKeys, is_signed
from ledger.seal_shapes import unhex
from ledger.seals import BEGINNING, Cut, as_written, end_of, signed_part
from ledger.store import Seal, StoredFact
from ledger.verify_log import Differences

_ANCHOR = re.compile(r"(?:block\s+)?(?:(?P<number>\d{1,18})[\s:]+)?(?P<hash>[0-9a-f]{64})\b")


class Anchor(NamedTuple):
    """A block as somebody else knows it. Without a number, any block may have the hash."""

    hash: bytes
    number: int | None = None
    origin: str = "the anchor"

    def __str__(self) -> str:
        return f"{self.origin} ({'' if self.number is None else f'block {self.number}, '}{self.hash.hex()[:16]}...)"


def anchors_from(text: str, origin: str = "the anchor") -> tuple[Anchor, ...]:
    """Anchors as `veloera ledger anchor` prints them, one a line: JSON, a number and a hash, or a hash alone.

    Raises ValueError for a line that is none, and where there is no line.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("there is no anchor in it")
    return tuple(_anchor(line, origin) for line in lines)


def _anchor(line: str, origin: str) -> Anchor:
    found = _ANCHOR.match(line)
    if found:
        return Anchor(bytes.fromhex(found["hash"]), int(found["number"]) if found["number"] else None, origin)
    try:
        told = msgspec.json.decode(line, type=_Told)
        return Anchor(unhex(told.hash, HASH_BYTES), told.block, origin)
    except ValueError as error:
        raise ValueError(
            f"{line[:80]!r} is no anchor: expected a block's number and its hash (64 hex digits)"
        ) from error


class _Told(msgspec.Struct):
    block: int
    hash: str


class Sealed(NamedTuple):
    """What of a log is sealed."""

    blocks: int
    facts: int
    unsealed: int
    """Facts behind the last block."""
    newest: Cut | None
    """The last block that was read."""


@dataclass(frozen=True)
class Trust:
    """Whose signatures count, and which blocks must be there."""

    keys: PublicKeys
    anchors: tuple[Anchor, ...] = ()

    def check(self, differences: Differences, begin: Cut = BEGINNING) -> "BlockCheck":
        return BlockCheck(differences, self.keys, self.anchors, begin)


class BlockCheck:
    """Reads a log with each block's seal behind its facts. `begin` is the block before the first that comes."""

    def __init__(
        self, differences: Differences, keys: PublicKeys, anchors: Iterable[Anchor] = (), begin: Cut = BEGINNING
    ) -> None:
        self._differs = differences.add
        self._keys = keys
        self._open = list(anchors)
        self._strangers: set[str] = set()
        self._end = begin
        self._blocks = 0
        self._sealed = 0
        self._start()

    def _start(self) -> None:
        """Facts from here on belong to the next block."""
        self._tree = Tree()
        self._first = self._last = 0

    def read(self, item: StoredFact | Seal) -> None:
        if isinstance(item, Seal):
            self._seal(item)
        else:
            self._fact(item)

    def finish(self) -> Sealed:
        for anchor in self._open:
            self._differs(str(anchor), "there is no such block" if anchor.number is None else "that block is not there")
        newest = None if self._end == BEGINNING else self._end
        return Sealed(self._blocks, self._sealed, self._tree.size, newest)

    def _fact(self, fact: StoredFact) -> None:
        if as_written(fact):
            self._tree.add(leaf_of(fact))
        else:
            self._differs(f"position {fact.position}", "is not stored in the types it was written in")
            self._tree.add(b"")
        self._first = self._first if self._tree.size > 1 else fact.position
        self._last = fact.position

    def _seal(self, seal: Seal) -> None:
        self._blocks += 1
        self._sealed += self._tree.size
        where = f"block {seal.number} (positions {seal.first} to {seal.last})"
        if not as_written(seal):
            self._differs(where, "is not stored in the types it was written in")
            self._start()
            return
        self._compare_facts(where, seal)
        self._compare_chain(where, seal)
        self._compare_signature(where, seal)
        self._end = end_of(seal)
        self._meet(self._end)
        self._start()

    def _compare_facts(self, where: str, seal: Seal) -> None:
        if self._tree.size != seal.facts:
            self._differs(where, f"{seal.facts} facts were sealed, {self._tree.size} are there")
        if (self._first, self._last) != (seal.first, seal.last):
            self._differs(where, f"its facts are at {self._first} to {self._last}")
        if self._tree.root() != seal.root:
            self._differs(where, "its facts are not those that were sealed")

    def _compare_chain(self, where: str, seal: Seal) -> None:
        end = self._end
        if self._blocks == 1 and seal.previous == end.hash:
            self._meet(
                end
            )  # an archive states the block that it begins after; its first block has signed that it is so
        if seal.number != end.number + 1:
            self._differs(where, f"comes after block {end.number}")
        if seal.previous != end.hash:
            self._differs(where, f"was not sealed after the block {end.number} that is there")
        if seal.at < end.at:
            self._differs(where, "was sealed before the block before it")

    def _compare_signature(self, where: str, seal: Seal) -> None:
        public = self._keys.get(seal.key_id)
        if public is not None:
            if not is_signed(public, seal.signature, signed_part(seal)):
                self._differs(where, f"was not signed by key {seal.key_id}")
        elif seal.key_id not in self._strangers:
            self._strangers.add(seal.key_id)
            self._differs(
                where, f"is the first signed by key {seal.key_id}, which is not trusted here; name it with --trust"
            )

    def _meet(self, block: Cut) -> None:
        """Tick off the anchors that this block is, or is not."""
        for anchor in [anchor for anchor in self._open if anchor.number in (None, block.number)]:
            if anchor.hash == block.hash:
                self._open.remove(anchor)
            elif anchor.number is not None:
                self._open.remove(anchor)
                self._differs(str(anchor), f"block {block.number} is another one: {block.hash.hex()}")
