"""One hash over many facts, and short proofs that a fact is among them: the Merkle trees of RFC 6962 and RFC 9162, with SHA-256.

A leaf is SHA-256(0x00 | bytes of the fact) and a node SHA-256(0x01 | left | right), so no node can be passed off as a leaf. The
tree over n > 1 leaves splits at the largest power of two below n. `of` has the bytes of a fact.
"""

import struct
from collections.abc import Iterable, Sequence
from hashlib import sha256

from ledger.store import StoredFact

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

_place = struct.Struct(">qqI").pack
_length = struct.Struct(">I").pack


def of(fact: StoredFact) -> bytes:
    """The bytes of a fact that its leaf is made of. No two facts have the same.

    The position and the version as signed 64-bit integers, big end first; then the stream, the topic (both UTF-8) and the stored
    bytes, each after its length in bytes as an unsigned 32-bit integer, big end first. The stored bytes are taken as they are.
    """
    return _written(fact, b"")


def leaf_of(fact: StoredFact) -> bytes:
    """The leaf's hash."""
    return sha256(_written(fact, b"\x00")).digest()


def leaves_of(facts: Iterable[StoredFact]) -> list[bytes]:
    """The hashes of many leaves."""
    return [sha256(_written(fact, b"\x00")).digest() for fact in facts]


def _written(fact: StoredFact, label: bytes) -> bytes:
    position, stream, version, topic, state = fact
    name, kind = stream.encode(), topic.encode()
    return b"".join(
        (label, _place(position, version, len(name)), name, _length(len(kind)), kind, _length(len(state)), state)
    )


def leaf(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """Takes leaves one after the other and keeps a hash for each set bit of their number: 40 at most, however many they are."""

    def __init__(self) -> None:
        self.size = 0
        self._complete: list[bytes] = []
        """Roots of the complete trees that the leaves so far make up, the largest first."""

    def add(self, leaf_hash: bytes) -> None:
        grown, bits = leaf_hash, self.size
        while bits & 1:
            grown = node(self._complete.pop(), grown)
            bits >>= 1
        self._complete.append(grown)
        self.size += 1

    def root(self) -> bytes:
        if not self._complete:
            return EMPTY_ROOT
        *others, root = self._complete
        for left in reversed(others):
            root = node(left, root)
        return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes.

    Row by row: neighbours are joined in pairs, and one that is left over goes up as it is. That is the tree that splits at the
    largest power of two below the number of leaves.
    """
    if not leaves:
        return EMPTY_ROOT
    row = leaves
    while len(row) > 1:
        above = [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=False)]
        row = [*above, row[-1]] if len(row) & 1 else above
    return row[0]


def path_to(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of a leaf: the hashes beside its way to the root, from the leaf upwards."""
    assert 0 <= index < len(leaves), "a path leads from a leaf of the tree"
    path: list[bytes] = []
    first, end = 0, len(leaves)
    while end - first > 1:
        split = first + _largest_power_below(end - first)
        if index < split:
            path.append(root_of(leaves[split:end]))
            end = split
        else:
            path.append(root_of(leaves[first:split]))
            first = split
    return path[::-1]


def is_included(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """True when a path leads from this leaf, the `index`-th (from 0) of `size`, to this root. RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    at, last, reached = index, size - 1, leaf_hash
    for beside in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            reached = node(beside, reached)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            reached = node(reached, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and reached == root


def _largest_power_below(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1
