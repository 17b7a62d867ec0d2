"""A proof stands by itself: whoever has the public key can check it, and nothing in it can be another."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import ProofBroken, SealRefused
from ledger.proofs import check, decode, encode, positions_of, prove
from ledger.seal_keys import make_key, trusted
from ledger.sealer import seal_here
from ledger.sqlite import SqliteStore
from tests.laws import calls
from tests.seals.houses import SEALED_FACTS, Attacker, filled, flipped


@pytest.fixture
def keys(store: SqliteStore, folder: Path) -> dict[str, bytes]:
    return trusted(folder)


def test_every_sealed_fact_can_be_proven(store: SqliteStore, keys: dict[str, bytes]) -> None:
    proofs = [prove(store, position, keys) for position in range(1, SEALED_FACTS + 1)]

    for proof in proofs:
        check(decode(encode(proof)), keys)
    assert [proof.fact for proof in proofs] == store.read_stored(0, SEALED_FACTS)


def test_a_fact_that_is_not_sealed_yet_cannot(store: SqliteStore, keys: dict[str, bytes]) -> None:
    with pytest.raises(SealRefused, match="not sealed yet"):
        prove(store, SEALED_FACTS + 1, keys)


def test_a_fact_that_was_changed_since_cannot(store: SqliteStore, folder: Path, keys: dict[str, bytes]) -> None:
    attacker = Attacker(folder)
    attacker.change("stored_events", "state", flipped(store.read_stored(9, 1)[0].state, 5), 10)

    for position in (10, 11):
        with pytest.raises(SealRefused, match="block 2 is not what was sealed"):
            prove(store, position, keys)


def test_a_proof_says_nothing_without_a_trusted_key(store: SqliteStore, keys: dict[str, bytes], tmp_path: Path) -> None:
    proof = prove(store, 3, keys)

    with pytest.raises(ProofBroken, match="not trusted"):
        check(proof, {})


def test_a_proof_made_with_another_key_is_none(store: SqliteStore, folder: Path, keys: dict[str, bytes]) -> None:
    make_key(folder)
    seal_here(store, folder, "", 90_000)
    later = trusted(folder)

    proof = prove(store, SEALED_FACTS + 1, later)

    check(proof, later)
    with pytest.raises(ProofBroken, match="not trusted"):
        check(proof, keys)


@given(at=st.integers(0, 10**6), bits=st.integers(1, 127), position=st.integers(1, SEALED_FACTS))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_proof_of_which_any_byte_was_changed_is_none(
    proven: tuple[dict[str, bytes], list[bytes]], at: int, bits: int, position: int
) -> None:
    trusted_keys, lines = proven
    line = lines[position - 1]
    altered = flipped(line, at, bits)

    try:
        proof = decode(altered)
        check(proof, trusted_keys)
    except ProofBroken:
        return

    assert json.loads(altered) == json.loads(line)  # white space, or the same character written in another way


@pytest.mark.parametrize("field", ["position", "version", "index", "number", "first", "last", "facts", "at_ms"])
@pytest.mark.parametrize("by", [-1, 1, 2**63])
def test_a_proof_of_which_any_number_is_another_is_none(
    store: SqliteStore, keys: dict[str, bytes], field: str, by: int
) -> None:
    told = json.loads(encode(prove(store, 12, keys)))
    where = told if field in told else told["block"]
    where[field] += by

    with pytest.raises(ProofBroken):
        check(decode(json.dumps(told).encode()), keys)


@pytest.mark.parametrize("field", ["root", "previous", "signature"])
def test_a_proof_is_written_in_one_way(store: SqliteStore, keys: dict[str, bytes], field: str) -> None:
    told = json.loads(encode(prove(store, 12, keys)))
    told["block"][field] = told["block"][field].upper()

    with pytest.raises(ProofBroken, match="lower-case"):
        check(decode(json.dumps(told).encode()), keys)


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"\xff", b'{"format": "veloera-proof/1"}'])
def test_what_is_no_proof_is_refused(line: bytes) -> None:
    with pytest.raises(ProofBroken, match="no proof"):
        decode(line)


def test_the_facts_of_a_call_are_those_of_its_extensions_as_well(store: SqliteStore) -> None:
    positions = positions_of(store, calls.charge(5))

    topics = [store.read_stored(position - 1, 1)[0].topic for position in positions]
    assert topics == ["charge.held/1", "charge.extended/1", "charge.settled/1"]


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[bytes]]:
    """The keys of a ledger, and a proof of every fact that is sealed in it."""
    folder = tmp_path_factory.mktemp("proven") / "data"
    with closing(SqliteStore(folder)) as store:
        filled(store, folder)
        keys = trusted(folder)
        return keys, [encode(prove(store, position, keys)) for position in range(1, SEALED_FACTS + 1)]
