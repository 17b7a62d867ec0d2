"""Whatever is changed in what was sealed is found, and named by its position or block."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ledger.seal_keys import seal_key
from ledger.sealer import seal_here
from ledger.seals import hash_of, signed_part
from ledger.sqlite import SqliteStore
from ledger.verify import Report, verify
from ledger.verify_seals import Anchor, Trust, anchors_from
from tests.laws import calls
from tests.seals.houses import SEALED_FACTS, Attacker, checked, filled, flipped, trust_in

COLUMNS = {
    "stored_events": ["id", "originator_id", "originator_version", "topic", "state"],
    "seals": ["number", "first", "last", "facts", "root", "previous", "key_id", "signature", "at"],
}
BLOCKS = 5


class Scene:
    """A sealed ledger under attack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = SqliteStore(folder)
        filled(self.store, folder)
        self.attacker = Attacker(folder)

    def report(self) -> Report:
        return checked(self.store, self.folder)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("tampering") / "data")
    yield made
    made.store.close()


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_value_is_found(scene: Scene, data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(sorted(COLUMNS)))
    row = data.draw(st.sampled_from(scene.attacker.rows[table][: SEALED_FACTS if table == "stored_events" else BLOCKS]))
    at = data.draw(st.integers(0, len(row) - 1))
    value = data.draw(changed(row[at]))

    try:
        scene.attacker.change(table, COLUMNS[table][at], value, int(str(row[0])))
    except sqlite3.IntegrityError:
        assume(False)  # a place that another row has
    report = scene.report()
    scene.attacker.undo()

    assert not report.is_sound


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_row_that_was_removed_or_put_between_is_found(scene: Scene, data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(sorted(COLUMNS)))
    rows = scene.attacker.rows[table][: SEALED_FACTS if table == "stored_events" else BLOCKS]
    row = data.draw(st.sampled_from(rows))

    if data.draw(st.booleans()):
        scene.attacker.remove(table, int(str(row[0])))
    else:
        first = data.draw(st.sampled_from([-(2**63), -(2**63) + 1, -1, 0]))
        stream = (calls.charge(999),) if table == "stored_events" else (row[1],)
        scene.attacker.put(table, (first, *stream, *row[2:]))
    report = scene.report()
    scene.attacker.undo()

    assert not report.is_sound


@given(pair=st.lists(st.integers(0, SEALED_FACTS - 1), min_size=2, max_size=2, unique=True), state_only=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_facts_that_changed_places_are_found(scene: Scene, pair: list[int], *, state_only: bool) -> None:
    one, other = (scene.attacker.rows["stored_events"][at] for at in pair)
    assume(one[4] != other[4])
    here, there = int(str(one[0])), int(str(other[0]))

    if state_only:
        scene.attacker.change("stored_events", "state", other[4], here)
        scene.attacker.change("stored_events", "state", one[4], there)
    else:
        scene.attacker.change("stored_events", "id", 10**9, here)
        scene.attacker.change("stored_events", "id", here, there)
        scene.attacker.change("stored_events", "id", there, 10**9)
    report = scene.report()
    scene.attacker.undo()

    assert not report.is_sound


@pytest.mark.parametrize("column", ["originator_id", "topic", "state", "key_id"])
def test_values_that_are_stored_as_another_type_are_found(scene: Scene, column: str) -> None:
    table, key = ("seals", "number") if column in COLUMNS["seals"] else ("stored_events", "id")
    # Text that is stored as bytes, or bytes that are stored as text: to SQLite both are as good.
    other = "TEXT" if column == "state" else "BLOB"

    scene.attacker.run(f"UPDATE {table} SET {column} = CAST({column} AS {other}) WHERE {key} = 3")
    report = scene.report()
    scene.attacker.undo()

    assert any("in the types it was written in" in difference.what for difference in report.differences)


@pytest.mark.parametrize("column", ["root", "previous", "signature"])
def test_hashes_that_are_stored_as_text_cannot_even_be_read(store: SqliteStore, folder: Path, column: str) -> None:
    Attacker(folder).run(f"UPDATE seals SET {column} = CAST(x'ff00' AS TEXT) WHERE number = 3")

    with pytest.raises(sqlite3.OperationalError, match=column):
        checked(store, folder)


def test_a_stream_that_was_deleted_with_its_balances_adjusted_is_found_by_its_blocks_alone(
    store: SqliteStore, folder: Path
) -> None:
    call = calls.charge(1)
    Attacker(folder).run(
        f"DELETE FROM stored_events WHERE originator_id = '{call}'",
        "UPDATE balances SET balance = balance + 60 WHERE account = 'user:1:available'",
    )

    plain, full = verify(store), checked(store, folder)

    assert plain.is_sound
    assert {difference.where for difference in full.differences} == {"block 2 (positions 6 to 17)"}


def test_a_price_that_is_no_number_is_found_and_named(store: SqliteStore, folder: Path) -> None:
    attacker = Attacker(folder)
    fact = next(fact for fact in store.read_stored(0, 100) if fact.topic == "charge.settled/1")
    attacker.change("stored_events", "state", fact.state.replace(b'"0.001"', b'"0x001"'), fact.position)

    found = [str(difference) for difference in verify(store).differences]

    assert any(f"position {fact.position}" in difference and "cannot be computed" in difference for difference in found)


def test_blocks_that_changed_places_are_named(store: SqliteStore, folder: Path) -> None:
    attacker = Attacker(folder)
    for new, old in ((99, 2), (2, 3), (3, 99)):
        attacker.change("seals", "number", new, old)

    found = {difference.where.split(" (")[0] for difference in checked(store, folder).differences}

    assert {"block 2", "block 3"} <= found


def test_a_block_that_was_removed_is_named_by_the_one_after_it(store: SqliteStore, folder: Path) -> None:
    Attacker(folder).remove("seals", 3)

    found = [str(difference) for difference in checked(store, folder).differences]

    assert any("block 4" in difference and "comes after block 2" in difference for difference in found)


def test_a_block_that_was_sealed_anew_with_the_stolen_key_breaks_the_chain_after_it(
    store: SqliteStore, folder: Path
) -> None:
    block, key = store.read_seals(2, 1)[0], seal_key(folder)
    block = block._replace(at=block.at + 1)
    attacker = Attacker(folder)
    attacker.change("seals", "at", block.at, block.number)
    attacker.change("seals", "signature", key.sign(signed_part(block)), block.number)

    (difference,) = checked(store, folder).differences

    assert difference.where.startswith("block 4 ")
    assert "not sealed after the block 3 that is there" in difference.what


@pytest.mark.parametrize("with_seals", [False, True])
def test_a_tail_that_was_cut_off_is_found(store: SqliteStore, folder: Path, *, with_seals: bool) -> None:
    attacker = Attacker(folder)
    attacker.run("DELETE FROM stored_events WHERE id > 40")
    if with_seals:
        attacker.run("DELETE FROM seals WHERE last > 40")

    found = {difference.where for difference in checked(store, folder).differences}

    expected = "seal.head" if with_seals else "block 5"
    assert any(where.startswith(expected) for where in found), found


def test_a_ledger_that_was_sealed_again_with_the_stolen_key_is_told_by_an_older_anchor(
    store: SqliteStore, folder: Path
) -> None:
    kept = store.read_seals(2, 1)[0]
    anchor = Anchor(hash_of(kept), kept.number)
    forge(store, folder)

    without, compared = checked(store, folder), verify(store, trust=trust_with(folder, anchor))

    assert without.is_sound
    (difference,) = compared.differences
    assert difference.where.startswith("the anchor (block 3, ")


@pytest.mark.parametrize("form", ["hash", "number and hash", "json"])
def test_an_anchor_is_compared_in_every_form_it_is_kept_in(store: SqliteStore, folder: Path, form: str) -> None:
    block = store.read_seals(2, 1)[0]
    good, bad = hash_of(block).hex(), flipped(hash_of(block), 3).hex()
    texts = {
        hash_: {
            "hash": hash_,
            "number and hash": f"block 3 {hash_} 2026-11-22 14:03:05.123\n",
            "json": f'{{"block": 3, "hash": "{hash_}", "last_position": 33}}\n',
        }[form]
        for hash_ in (good, bad)
    }

    reports = [verify(store, trust=trust_with(folder, *anchors_from(texts[hash_]))) for hash_ in (good, bad)]

    assert [report.is_sound for report in reports] == [True, False]


@pytest.mark.parametrize("text", ["", "\n", "yesterday's", "12", '{"block": 3}', "a" * 63])
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="anchor"):
        anchors_from(text)


def test_an_anchor_of_a_block_that_is_not_there_is_told(store: SqliteStore, folder: Path) -> None:
    report = verify(store, trust=trust_with(folder, Anchor(b"\1" * 32), Anchor(b"\2" * 32, 77)))

    assert [difference.what for difference in report.differences] == [
        "there is no such block",
        "that block is not there",
    ]


def forge(store: SqliteStore, folder: Path) -> None:
    """Take a call out, and seal what is left anew: with the key, and with everything else in the data folder."""
    Attacker(folder).run(
        f"DELETE FROM stored_events WHERE originator_id = '{calls.charge(1)}'",
        "UPDATE balances SET balance = balance + 60 WHERE account = 'user:1:available'",
        "DELETE FROM seals",
    )
    (folder / "seal.head").unlink()
    seal_here(store, folder, "", 90_000)


def trust_with(folder: Path, *anchors: Anchor) -> Trust:
    trust = trust_in(folder)
    return Trust(trust.keys, (*anchors, *trust.anchors))


def changed(value: object) -> st.SearchStrategy[object]:
    """Another value of the same kind."""
    match value:
        case bytes():
            flips = st.builds(flipped, st.just(value), st.integers(0, len(value) - 1), st.integers(1, 255))
            return st.one_of(flips, st.just(value[:-1]), st.just(value + b" "))
        case str():
            ends = st.sampled_from(
                [value[:-1], value + "0", value.upper() if value.lower() != value.upper() else "", "é"]
            )
            return ends.filter(lambda other: other != value)
        case int():
            near = st.integers(-3, 3).filter(bool).map(lambda by: value + by)
            far = st.sampled_from([0, -1, 2**63 - 1, -(2**63)]).filter(lambda other: other != value)
            return st.one_of(near, far)
    raise AssertionError(value)
