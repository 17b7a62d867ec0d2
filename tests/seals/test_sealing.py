"""Facts are sealed in their order, every one once, by a key that the database does not hold."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import seals
from ledger.errors import SealRefused
from ledger.explain import explain
from ledger.seal_keys import SealKey, key_from, make_key, pem_of, public_from, seal_key, trusted
from ledger.sealer import Sealer, read_head, seal_here
from ledger.seals import block_of, hash_of, seal
from ledger.sqlite import SqliteStore
from ledger.store import Seal
from tests.laws import calls
from tests.seals.houses import CALLS, NO_HASH, SEALED_FACTS, Attacker, checked

KEY = SealKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def test_what_is_there_is_sealed_in_blocks_of_at_most_a_thousand(empty: SqliteStore) -> None:
    empty.commit([calls.customer(str(n)) for n in range(2_500)])

    made = seal(empty, KEY, 5_000)

    assert [(block.number, block.first, block.last, block.facts) for block in made] == [
        (1, 1, 1000, 1000),
        (2, 1001, 2000, 1000),
        (3, 2001, 2500, 500),
    ]
    assert made == empty.read_seals(0, 10)


def test_sealing_again_seals_nothing_until_there_is_more(empty: SqliteStore) -> None:
    empty.commit([calls.customer()])
    first = seal(empty, KEY, 5_000)

    again = seal(empty, KEY, 6_000)
    empty.commit([calls.customer("bob")])
    more = seal(empty, KEY, 7_000)

    assert again == []
    assert [block.first for block in more] == [first[0].last + 1]
    assert more[0].previous == hash_of(first[0])


def test_a_long_backlog_is_sealed_round_by_round(empty: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    empty.commit([calls.customer(str(n)) for n in range(100)])
    monkeypatch.setattr(seals, "SEAL_LIMIT_FACTS", 1)
    rounds: list[int] = []
    cut = seals._cut_round
    monkeypatch.setattr(seals, "_cut_round", lambda *given: kept(rounds, cut(*given)))

    made = seal(empty, KEY, 5_000)

    assert [block.number for block in made] == list(range(1, 101))
    assert rounds == [32, 32, 32, 4, 0]


def test_the_root_can_be_computed_without_any_of_our_code(store: SqliteStore) -> None:
    block = store.read_seals(1, 1)[0]

    def field(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    def tree(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return sha256(b"\0" + leaves[0]).digest()
        split = max(1 << n for n in range(20) if 1 << n < len(leaves))
        return sha256(b"\1" + tree(leaves[:split]) + tree(leaves[split:])).digest()

    leaves = [
        position.to_bytes(8, "big", signed=True)
        + version.to_bytes(8, "big", signed=True)
        + field(stream.encode())
        + field(topic.encode())
        + field(state)
        for position, stream, version, topic, state in store.read_stored(block.first - 1, block.facts)
    ]

    assert tree(leaves) == block.root


def test_the_hash_of_a_block_is_over_everything_but_the_signature(store: SqliteStore) -> None:
    block = store.read_seals(0, 1)[0]

    changed = [
        block._replace(number=2),
        block._replace(first=9),
        block._replace(last=9),
        block._replace(facts=9),
        block._replace(at=9),
        block._replace(root=NO_HASH),
        block._replace(previous=b"\1" * 32),
    ]

    assert len({hash_of(each) for each in [block, *changed]}) == 8


def test_blocks_never_go_back_in_time_whatever_the_clock_says(empty: SqliteStore) -> None:
    empty.commit([calls.customer()])
    seal(empty, KEY, 9_000)
    empty.commit([calls.customer("bob")])

    (second,) = seal(empty, KEY, 4_000)

    assert second.at == 9_000


def test_a_sound_ledger_is_found_sound_with_its_counts(store: SqliteStore, folder: Path) -> None:
    report = checked(store, folder)

    assert report.differences == ()
    assert report.sealed is not None
    assert (report.sealed.blocks, report.sealed.facts, report.sealed.unsealed) == (5, SEALED_FACTS, 3)
    assert report.facts == SEALED_FACTS + 3


def test_every_position_is_found_in_its_block(store: SqliteStore) -> None:
    blocks = store.read_seals(0, 100)

    found = [block_of(store, position) for position in range(-1, SEALED_FACTS + 4)]

    expected = [next((b for b in blocks if b.first <= p <= b.last), None) for p in range(-1, SEALED_FACTS + 4)]
    assert found == expected


def test_an_explanation_names_the_block_that_its_charge_ended_in(store: SqliteStore) -> None:
    sealed, unsealed = explain(store, calls.charge(CALLS - 1)), explain(store, calls.charge(500))

    assert sealed is not None
    assert unsealed is not None
    assert (sealed.block, unsealed.block) == (5, None)


def test_the_key_is_made_once_and_is_its_owners_alone(store: SqliteStore, folder: Path) -> None:
    first, second = seal_key(folder), seal_key(folder)

    assert first.id == second.id
    assert {block.key_id for block in store.read_seals(0, 100)} == {first.id}
    assert stat.S_IMODE((folder / "seal.key").stat().st_mode) == 0o600
    assert first.public not in (folder / "ledger.db").read_bytes()
    assert sorted(path.name for path in folder.glob("seal*")) == ["seal-keys", "seal.head", "seal.key"]


def test_a_key_that_is_lost_is_not_replaced_silently(store: SqliteStore, folder: Path) -> None:
    (folder / "seal.key").unlink()

    with pytest.raises(SealRefused, match="seal-key --new"):
        seal_here(store, folder, "", 90_000)


def test_a_new_key_signs_what_comes_and_the_old_blocks_stay_good(store: SqliteStore, folder: Path) -> None:
    old = seal_key(folder)

    new = make_key(folder)
    made = seal_here(store, folder, "", 90_000)

    assert {block.key_id for block in made} == {new.id}
    assert set(trusted(folder)) == {old.id, new.id}
    assert checked(store, folder).is_sound


def test_blocks_by_a_key_that_is_not_trusted_are_found(store: SqliteStore, folder: Path) -> None:
    (folder / "seal-keys" / f"{seal_key(folder).id}.pub").unlink()

    (difference,) = checked(store, folder).differences

    assert difference.where == "block 1 (positions 1 to 5)"
    assert "not trusted" in difference.what


@pytest.mark.parametrize("form", ["pem", "pem on one line", "seed"])
def test_a_key_is_given_as_pem_or_as_a_seed(form: str) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n"
    text = {"pem": pem, "pem on one line": pem.replace("\n", "\\n"), "seed": "A" * 43 + "="}[form]

    assert key_from(text).id == KEY.id


@pytest.mark.parametrize(
    "text", ["", "secret", "A" * 44, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(SealRefused, match="Ed25519"):
        key_from(text)


def test_a_public_key_goes_through_its_file(folder: Path) -> None:
    assert public_from(pem_of(KEY.public)) == KEY.public


def test_one_of_two_sealers_leads_and_the_other_takes_over(empty: SqliteStore, folder: Path) -> None:
    empty.commit([calls.customer()])
    other = SqliteStore(folder)
    one, two = Sealer(empty, folder), Sealer(other, folder)

    made = [one.run(1_000), two.run(1_000)]
    empty.commit([calls.customer("bob")])
    while_it_leads = two.run(2_000)
    one.close()
    after_it = two.run(3_000)
    two.close()
    other.close()

    assert [len(blocks) for blocks in made] == [1, 0]
    assert (while_it_leads, len(after_it)) == ([], 1)


def test_a_sealer_remembers_the_block_it_saw_last(store: SqliteStore, folder: Path) -> None:
    newest = store.last_seal()

    head = read_head(folder)

    assert newest is not None
    assert head == (newest.number, hash_of(newest))


def test_a_chain_that_lost_its_end_is_not_sealed_any_further(store: SqliteStore, folder: Path) -> None:
    Attacker(folder).remove("seals", 5)

    with pytest.raises(SealRefused, match="block 5 is not the one that this machine saw"):
        seal_here(store, folder, "", 90_000)


def test_a_head_that_cannot_be_read_is_said_so(store: SqliteStore, folder: Path) -> None:
    (folder / "seal.head").write_text("{}")

    with pytest.raises(SealRefused, match=r"seal\.head cannot be read"):
        seal_here(store, folder, "", 90_000)


def test_a_file_that_a_dead_process_left_half_made_is_nobodys_key(empty: SqliteStore, folder: Path) -> None:
    empty.commit([calls.customer()])
    (folder / "seal.key.0123456789abcdef").write_bytes(os.urandom(7))

    assert len(seal_here(empty, folder, "", 1_000)) == 1


def kept(rounds: list[int], blocks: list[Seal]) -> list[Seal]:
    rounds.append(len(blocks))
    return blocks
