"""Blocks of facts that can no longer change unseen: each has the Merkle root of its facts and the hash of the block before it, and
is signed by a key that the database does not hold.

Facts get their positions in the order of their commits, so whoever sees a fact sees all before it, and a block never leaves a
place behind it where one could still appear. Positions may have gaps.
"""

import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from ledger import merkle
from ledger.errors import SealRefused
from ledger.seal_keys import SealKey
from ledger.store import LedgerReader, LedgerStore, Seal, StoredFact

SEAL_LIMIT_FACTS = 1000
BLOCKS_A_ROUND = 32
"""Cut in one snapshot: a long backlog does not keep one open."""
NO_BLOCK = bytes(merkle.HASH_BYTES)
"""What the first block has as the hash of the one before it."""
FIRST_POSSIBLE = -(2**63) - 1
"""Read after this, a log shows whatever is in it, whatever position somebody gave it."""

_FACT_TYPES = (int, str, int, str, bytes)
_SEAL_TYPES = (int, int, int, int, bytes, bytes, str, bytes, int)
_BLOCK = struct.Struct(">5q32s32s")
_BLOCK_LABEL = b"veloera block/1\n"
_SIGNATURE_LABEL = b"veloera block signature/1\n"


class Cut(NamedTuple):
    """Where the chain of blocks ends: what the next block follows."""

    number: int
    last: int
    at: int
    hash: bytes


BEGINNING = Cut(0, 0, 0, NO_BLOCK)


def hash_of(seal: Seal) -> bytes:
    """The hash of a block: SHA-256 over a label and its number, first and last position, count of facts and moment (signed 64-bit
    integers, big end first), its root, and the hash of the block before it.
    """
    packed = _BLOCK.pack(seal.number, seal.first, seal.last, seal.facts, seal.at, seal.root, seal.previous)
    return sha256(_BLOCK_LABEL + packed).digest()


def signed_part(seal: Seal) -> bytes:
    """What a signature is made over: a label that no other signature has, and the hash of the block."""
    return _SIGNATURE_LABEL + hash_of(seal)


def end_of(seal: Seal) -> Cut:
    return Cut(seal.number, seal.last, seal.at, hash_of(seal))


def seal(store: LedgerStore, key: SealKey, now_ms: int) -> list[Seal]:
    """Seal every fact that was there when asked; the blocks that this call made, oldest first.

    Safe beside another sealer: the store takes one block of each number, and whoever comes second goes on after it.
    Raises LedgerUnavailable.
    """
    made: list[Seal] = []
    until = store.head()
    while fresh := _cut_round(store, key, now_ms, until):
        for block in fresh:
            if not store.append_seal(block):
                _must_be_there(store, block)
                break
            made.append(block)
    return made


def _must_be_there(store: LedgerStore, refused: Seal) -> None:
    """A block is refused for one reason only; any other would be tried for ever."""
    newest = store.last_seal()
    if newest is None or newest.number < refused.number:
        raise SealRefused(f"the store took block {refused.number} not, and has none of that number")


def _cut_round(store: LedgerStore, key: SealKey, now_ms: int, until: int) -> list[Seal]:
    """The next blocks as this moment shows them, signed, not stored."""
    blocks: list[Seal] = []
    with store.snapshot() as reader:
        last = reader.last_seal()
        end = BEGINNING if last is None else end_of(last)
        while end.last < until and len(blocks) < BLOCKS_A_ROUND:
            facts = reader.read_stored(end.last, SEAL_LIMIT_FACTS)
            if not facts:
                break
            blocks.append(_block(facts, end, key, now_ms))
            end = end_of(blocks[-1])
    return blocks


def _block(facts: list[StoredFact], after: Cut, key: SealKey, now_ms: int) -> Seal:
    root = merkle.root_of(merkle.leaves_of(facts))
    unsigned = Seal(
        number=after.number + 1,
        first=facts[0].position,
        last=facts[-1].position,
        facts=len(facts),
        root=root,
        previous=after.hash,
        key_id=key.id,
        signature=b"",
        at=max(now_ms, after.at),  # clocks of several machines differ; blocks never go back in time
    )
    return unsigned._replace(signature=key.sign(signed_part(unsigned)))


def block_of(reader: LedgerReader, position: int) -> Seal | None:
    """The block that a position lies in; None when it is not sealed yet. Reads some twenty seals of a million."""
    found = reader.read_seals(_blocks_before(reader, position), 1)
    return found[0] if found and found[0].first <= position <= found[0].last else None


def end_before(reader: LedgerReader, position: int) -> Cut:
    """The end of the last block that ends at a position or before it."""
    count = _blocks_before(reader, position + 1)
    return end_of(reader.read_seals(count - 1, 1)[0]) if count else BEGINNING


def _blocks_before(reader: LedgerReader, position: int) -> int:
    """How many blocks end before a position."""
    newest = reader.last_seal()
    low, high = 0, 0 if newest is None else newest.number
    while low < high:
        middle = (low + high) // 2
        there = reader.read_seals(middle, 1)
        if there and there[0].last < position:
            low = middle + 1
        else:
            high = middle
    return low


def as_written(item: StoredFact | Seal) -> bool:
    """False when it is stored in other types than it was written in: SQLite takes any."""
    if isinstance(item, StoredFact):
        return tuple(map(type, item)) == _FACT_TYPES
    return tuple(map(type, item)) == _SEAL_TYPES and len(item.root) == len(item.previous) == merkle.HASH_BYTES


def seals_of(reader: LedgerReader, after: int = FIRST_POSSIBLE, page: int = 500) -> Iterator[Seal]:
    """All seals with a number above `after`, in order."""
    while seals := reader.read_seals(after, page):
        yield from seals
        if len(seals) < page:
            return
        after = seals[-1].number


def facts_of(reader: LedgerReader, after: int = FIRST_POSSIBLE, page: int = 1000) -> Iterator[StoredFact]:
    """All facts after a position, as stored."""
    while facts := reader.read_stored(after, page):
        yield from facts
        if len(facts) < page:
            return
        after = facts[-1].position


def sealed_log(
    reader: LedgerReader, *, after: int = FIRST_POSSIBLE, after_block: int = FIRST_POSSIBLE
) -> Iterator[StoredFact | Seal]:
    """The log in its order, each block's seal behind the last fact of the block."""
    seals = seals_of(reader, after_block)
    waiting = next(seals, None)
    for fact in facts_of(reader, after):
        while waiting is not None and _is_over(waiting, fact.position):
            yield waiting
            waiting = next(seals, None)
        yield fact
    if waiting is not None:
        yield waiting
        yield from seals


def _is_over(seal: Seal, position: int) -> bool:
    """True when a block ends before a position; one that was tampered with may end in no number."""
    end: object = seal.last
    return not isinstance(end, int) or end < position
