"""The tree is that of RFC 6962, and nothing but a leaf of it has a path to its root."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger import merkle
from ledger.store import StoredFact
from tests.seals.houses import flipped

VECTORS = [
    b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"\x40\x41\x42\x43", b"\x50\x51\x52\x53\x54\x55\x56\x57",
    bytes(range(0x60, 0x70)),
]  # fmt: skip
"""The leaves that implementations of Certificate Transparency are tried with, and their roots for 1 to 8 leaves."""
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
facts = st.builds(
    StoredFact,
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.binary(max_size=16),
)


def naive(leaves: list[bytes]) -> bytes:
    """MTH as section 2.1 of RFC 6962 writes it, over the data itself."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive(leaves[:split]) + naive(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_the_root_is_that_of_the_definition(data: list[bytes]) -> None:
    root = merkle.root_of([merkle.leaf(each) for each in data])

    assert root == naive(data)


@pytest.mark.parametrize("size", ROOTS)
def test_the_root_is_that_of_other_implementations(size: int) -> None:
    assert merkle.root_of([merkle.leaf(data) for data in VECTORS[:size]]).hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70), st.data())
def test_every_leaf_has_a_path_to_the_root(data: list[bytes], draw: st.DataObject) -> None:
    leaves = [merkle.leaf(each) for each in data]
    index = draw.draw(st.integers(0, len(leaves) - 1))

    path = merkle.path_to(leaves, index)

    assert len(path) <= (len(leaves) - 1).bit_length()
    assert merkle.is_included(leaves[index], index, len(leaves), path, naive(data))


@given(st.integers(1, 70), st.data())
def test_nothing_else_has_one(size: int, draw: st.DataObject) -> None:
    leaves = [merkle.leaf(bytes([n])) for n in range(size)]
    root = merkle.root_of(leaves)
    index = draw.draw(st.integers(0, size - 1))
    path = merkle.path_to(leaves, index)

    altered = draw.draw(st.sampled_from(["leaf", "index", "root", "path", "longer", "shorter"]))
    at = draw.draw(st.integers(0, 31))
    others = [n for n in range(-1, size + 2) if n != index]
    leaf, place, beside, end = leaves[index], index, list(path), root
    match altered:
        case "leaf":
            leaf = flipped(leaf, at)
        case "root":
            end = flipped(root, at)
        case "index":
            place = draw.draw(st.sampled_from(others))
        case "longer":
            beside.insert(draw.draw(st.integers(0, len(path))), draw.draw(st.sampled_from([root, leaf, *path])))
        case _ if path:
            where = draw.draw(st.integers(0, len(path) - 1))
            beside[where : where + 1] = [] if altered == "shorter" else [flipped(path[where], at)]
        case _:
            assume(False)

    assert not merkle.is_included(leaf, place, size, beside, end)


def test_a_node_cannot_be_passed_off_as_a_leaf() -> None:
    left, right = merkle.leaf(b"one"), merkle.leaf(b"two")
    inside = left + right

    assert merkle.root_of([left, right]) == merkle.node(left, right)
    assert merkle.leaf(inside) != merkle.node(left, right)


@given(facts, facts)
def test_no_two_facts_have_the_same_bytes(one: StoredFact, other: StoredFact) -> None:
    assert (merkle.of(one) == merkle.of(other)) == (one == other)


def test_what_moves_from_one_field_to_the_next_changes_the_bytes() -> None:
    facts_alike = [
        StoredFact(1, "ab", 1, "c", b"d"),
        StoredFact(1, "a", 1, "bc", b"d"),
        StoredFact(1, "ab", 1, "", b"cd"),
    ]

    assert len({merkle.of(fact) for fact in facts_alike}) == 3


@given(st.integers(0, 300))
def test_a_tree_keeps_as_many_hashes_as_its_size_has_bits_set(size: int) -> None:
    tree = merkle.Tree()

    for n in range(size):
        tree.add(merkle.leaf(b"%d" % n))

    assert (tree.size, len(tree._complete)) == (size, size.bit_count())
