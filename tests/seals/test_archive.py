"""An archive holds the ledger byte for byte, shows by itself whether it is whole, and becomes the same ledger again."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import archive, sqlite_restore
from ledger.archive import Footer, Totals, VaultEntry, VaultKey
from ledger.archive_writing import Written, export, written_whole
from ledger.errors import ArchiveBroken, NotEmpty, StoreRefused
from ledger.restore import restore
from ledger.seal_keys import remember, seal_key, trusted
from ledger.seal_shapes import texts_of
from ledger.sealer import seal_here
from ledger.sqlite import SqliteStore
from ledger.sqlite_restore import SqliteFilling
from ledger.standing import Standing, digest_in
from ledger.store import StoredFact
from ledger.vault import open_vault
from ledger.verify import verify
from ledger.verify_archive import verify_archive
from ledger.verify_seals import Anchor, Trust
from tests.laws import calls
from tests.seals.houses import SEALED_FACTS, Attacker, checked, contents, filled, flipped, trust_in

KEPT = ("stored_events", "balances", "holds")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive, beside the folder of the ledger it is of."""
    place = tmp_path_factory.mktemp("archive")
    with closing(SqliteStore(place / "data")) as store:
        filled(store, place / "data")
        write(store, place / "data", place / "whole.jsonl")
        write(store, place / "data", place / "packed.jsonl.gz")
    return place / "whole.jsonl"


def test_a_ledger_goes_through_an_archive_unchanged(store: SqliteStore, folder: Path, tmp_path: Path) -> None:
    write(store, folder, tmp_path / "a.jsonl.gz")
    copy = tmp_path / "copy"

    standing = read_back(tmp_path / "a.jsonl.gz", copy)

    before, after = contents(folder), contents(copy)
    assert {table: after[table] for table in KEPT} == {table: before[table] for table in KEPT}
    assert len(standing.holds) == len(before["holds"]) > 0
    with closing(SqliteStore(copy)) as restored:
        assert restored.read_seals(0, 100) == store.read_seals(0, 100)
        remember(copy, seal_key(folder).public)
        assert checked(restored, copy) == checked(store, folder)


def test_a_restored_ledger_goes_on_where_the_other_stood(store: SqliteStore, folder: Path, tmp_path: Path) -> None:
    write(store, folder, tmp_path / "a.jsonl")
    copy = tmp_path / "copy"
    read_back(tmp_path / "a.jsonl", copy)
    shutil.copy(folder / "seal.key", copy)

    with closing(SqliteStore(copy)) as restored:
        again = restored.commit([calls.hold(104, calls.charge(4)), calls.settle(60, calls.charge(4))])
        made = seal_here(restored, copy, "", 90_000)
        report = checked(restored, copy)

    assert [result.status for result in again] == ["exists", "created"]
    assert (made[0].number, made[0].first) == (6, SEALED_FACTS + 1)
    assert report.is_sound


@given(
    facts=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
            st.integers(1, 9),
            st.text(st.characters(codec="utf-8"), max_size=5),
            st.one_of(st.binary(max_size=9), st.text(st.characters(codec="utf-8"), max_size=9).map(str.encode)),
            st.integers(1, 1000),
        ),
        max_size=12,
        unique_by=lambda fact: fact[:2],
    ),
)
@settings(deadline=None)
def test_whatever_bytes_a_fact_has_they_come_back(facts: list[tuple[str, int, str, bytes, int]]) -> None:
    """Positions with gaps, any text, and bytes that are none."""
    position, stored = 0, []
    for stream, version, topic, state, gap in facts:
        position += gap
        stored.append(StoredFact(position, stream, version, topic, state))

    lines = [
        archive.encode(archive.FactLine(f.position, f.stream, f.version, f.topic, *texts_of(f.state))) for f in stored
    ]

    assert list(reread(lines).items()) == stored


@given(at=st.integers(0, 10**6), bits=st.integers(1, 255))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_of_an_archive_is_found(written: Path, tmp_path: Path, at: int, bits: int) -> None:
    whole = written.read_bytes()
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(flipped(whole, at, bits))

    report = verify_archive(broken, trust_in(written.parent / "data"))

    assert not report.is_sound


@given(at=st.integers(0, 10**6), bits=st.integers(1, 255))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_of_a_packed_one_is_found_or_changes_nothing(
    written: Path, tmp_path: Path, at: int, bits: int
) -> None:
    """gzip has a few bytes that mean nothing to us: its own clock, the system it was made on."""
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(flipped(written.with_name("packed.jsonl.gz").read_bytes(), at, bits))

    report = verify_archive(broken, trust_in(written.parent / "data"))

    if report.is_sound:
        assert gzip.decompress(broken.read_bytes()) == gzip.decompress(
            written.with_name("packed.jsonl.gz").read_bytes()
        )


@given(cut=st.integers(1, 10**6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["whole.jsonl", "packed.jsonl.gz"])
def test_an_archive_that_lost_its_end_is_found(written: Path, tmp_path: Path, cut: int, name: str) -> None:
    whole = written.with_name(name).read_bytes()
    broken = tmp_path / name
    broken.write_bytes(whole[: -(cut % (len(whole) - 1)) - 1])

    assert not verify_archive(broken, trust_in(written.parent / "data")).is_sound


FORGERIES: dict[str, tuple[Callable[[list[dict[str, object]]], object], str]] = {
    "a fact taken out": (lambda lines: lines.pop(20), "block 3"),
    "a fact put twice": (lambda lines: lines.insert(20, lines[20]), "positions do not rise"),
    "a block taken out": (lambda lines: lines.remove(nth(lines, "seal", 2)), "comes after block 2"),
    "an end cut off": (lambda lines: lines.__delitem__(slice(-3, None)), "its header names position"),
    "a secret more": (lambda lines: lines.append({"line": "secret", "ref": "a", "sealed": "AA=="}), ""),
    "a second header": (lambda lines: lines.insert(5, lines[0]), "where none belongs"),
    "an unknown line": (lambda lines: lines.append({"line": "wish"}), "Invalid value 'wish'"),
    "a number beyond 64 bits": (lambda lines: lines[5].update(position=2**63), "more than 64 bits"),
    "bytes written in another way": (
        lambda lines: lines[5].update(state="", state_base64="YQ=="),
        "text where they are UTF-8",
    ),
    "a key under another's id": (lambda lines: lines[0].update(keys={"0" * 32: "0" * 64}), "another's id"),
    "another format": (lambda lines: lines[0].update(format="veloera-archive/2"), "no header of the format"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_was_changed_by_somebody_who_knows_the_format_is_found(written: Path, tmp_path: Path, name: str) -> None:
    forge, named = FORGERIES[name]
    *lines, totals, _ = [json.loads(line) for line in written.read_bytes().splitlines()]
    forge(lines)
    forged = tmp_path / "forged.jsonl"
    standing = totals["standing"]
    forged.write_bytes(with_footer([json.dumps(line).encode() + b"\n" for line in lines], standing))

    found = [str(difference) for difference in verify_archive(forged, trust_in(written.parent / "data")).differences]

    # A secret is nobody's proof: it is sealed by its own key, and checked when it is opened.
    assert found == [] if not named else any(named in difference for difference in found), found


ENDINGS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a footer written in another way": lambda lines: [*lines[:-1], lines[-1].replace(b":", b": ")],
    "no footer": lambda lines: lines[:-1],
    "no totals": lambda lines: [*lines[:-2], lines[-1]],
    "something behind the footer": lambda lines: [*lines, lines[-1]],
    "totals twice": lambda lines: [*lines[:-1], lines[-2], lines[-1]],
    "other counts": lambda lines: summed([*lines[:-2], lines[-2].replace(b'"facts":', b'"facts":1')]),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_an_archive_with_another_end_is_found(written: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"".join(ENDINGS[name](written.read_bytes().splitlines(keepends=True))))

    assert not verify_archive(other, Trust(trusted(written.parent / "data"))).is_sound


def test_balances_that_the_facts_do_not_leave_are_found(written: Path, tmp_path: Path) -> None:
    lines = written.read_bytes().splitlines(keepends=True)
    forged = tmp_path / "forged.jsonl"
    forged.write_bytes(with_footer(lines[:-2], "0" * 64))

    (difference,) = verify_archive(forged, trust_in(written.parent / "data")).differences
    with pytest.raises(ArchiveBroken, match="balances and holds"):
        read_back(forged, tmp_path / "copy")

    assert "balances and holds" in difference.what
    assert contents(tmp_path / "copy")["stored_events"] == []


def test_the_keys_in_an_archive_are_not_trusted_unless_named(written: Path) -> None:
    key_id = next(iter(trusted(written.parent / "data")))

    alone = verify_archive(written, Trust({}))
    named = verify_archive(written, Trust({}), frozenset([key_id]))

    assert ["not trusted" in difference.what for difference in alone.differences] == [True]
    assert named.is_sound


def test_a_part_of_a_ledger_begins_where_a_block_does_and_is_chained_to_the_rest(
    store: SqliteStore, folder: Path, tmp_path: Path
) -> None:
    whole = write(store, folder, tmp_path / "whole.jsonl")
    second, third = store.read_seals(1, 2)

    write(store, folder, tmp_path / "part.jsonl", after=third.first + 2)
    report = verify_archive(tmp_path / "part.jsonl", trust_in(folder))
    other = verify_archive(tmp_path / "part.jsonl", Trust(trusted(folder), (Anchor(b"\1" * 32, 2),)))

    with archive.opened(tmp_path / "part.jsonl") as part:
        facts = [item for item in part.items() if isinstance(item, StoredFact)]
    assert facts[0].position == second.last + 1
    assert (report.is_sound, report.is_part, report.facts) == (True, True, whole.counts.facts - second.last)
    assert not other.is_sound
    with pytest.raises(ArchiveBroken, match="first fact"):
        read_back(tmp_path / "part.jsonl", tmp_path / "copy")


def test_a_part_after_everything_is_empty_and_sound(store: SqliteStore, folder: Path, tmp_path: Path) -> None:
    footer = write(store, folder, tmp_path / "part.jsonl", after=10**9)

    assert footer.counts.facts == 3  # what is not sealed yet begins at a block's end as well
    assert verify_archive(tmp_path / "part.jsonl", Trust(trusted(folder))).is_sound


def test_an_archive_is_read_into_an_empty_ledger_only(store: SqliteStore, folder: Path, tmp_path: Path) -> None:
    write(store, folder, tmp_path / "a.jsonl")
    before = contents(folder)

    with pytest.raises(NotEmpty):
        read_back(tmp_path / "a.jsonl", folder)

    assert contents(folder) == before


def test_a_broken_archive_leaves_the_ledger_empty(written: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(flipped(written.read_bytes(), -20))

    with pytest.raises(ArchiveBroken):
        read_back(broken, tmp_path / "copy")

    assert set(map(len, contents(tmp_path / "copy").values())) == {0}


def test_secrets_are_in_an_archive_only_where_asked_for_and_only_sealed(
    store: SqliteStore, folder: Path, tmp_path: Path
) -> None:
    vault = open_vault(store, folder, "the operator's")
    put = vault.put("sk-a-channel's-key")
    store.commit([msgspec.structs.replace(calls.customer("carol"), vault=(put,))])

    write(store, folder, tmp_path / "without.jsonl")
    write(store, folder, tmp_path / "with.jsonl", with_vault=True)

    kinds = {name: [type(item) for item in all_items(tmp_path / f"{name}.jsonl")] for name in ("with", "without")}
    assert (kinds["with"].count(VaultEntry), kinds["with"].count(VaultKey)) == (1, 2)
    assert not {VaultEntry, VaultKey} & set(kinds["without"])
    assert b"channel's" not in (tmp_path / "with.jsonl").read_bytes()
    read_back(tmp_path / "with.jsonl", tmp_path / "copy")
    with closing(SqliteStore(tmp_path / "copy")) as restored:
        assert open_vault(restored, tmp_path / "copy", "the operator's").text(put.ref) == "sk-a-channel's-key"
        with pytest.raises(StoreRefused):
            open_vault(restored, tmp_path / "copy", "another's")


def test_a_ledger_with_vault_keys_of_its_own_takes_no_others(store: SqliteStore, folder: Path, tmp_path: Path) -> None:
    open_vault(store, folder, "the operator's")
    write(store, folder, tmp_path / "with.jsonl", with_vault=True)
    with closing(SqliteStore(tmp_path / "copy")) as other:
        open_vault(other, tmp_path / "copy", "the operator's")

    with pytest.raises(NotEmpty, match="vault keys of its own"):
        read_back(tmp_path / "with.jsonl", tmp_path / "copy")


def test_what_was_tampered_with_is_not_written_as_if_it_were_not(
    store: SqliteStore, folder: Path, tmp_path: Path
) -> None:
    Attacker(folder).run("UPDATE stored_events SET state = CAST(state AS TEXT) WHERE id = 4")

    with pytest.raises(StoreRefused, match="position 4"):
        write(store, folder, tmp_path / "a.jsonl")

    assert list(tmp_path.glob("*a.jsonl*")) == []


def test_a_ledger_is_written_as_it_was_at_one_moment_while_others_write(
    store: SqliteStore, folder: Path, tmp_path: Path
) -> None:
    stop = threading.Event()
    other = SqliteStore(folder)

    def call() -> None:
        number = 1_000
        while not stop.is_set():
            number += 1
            other.commit([calls.hold(1, calls.charge(number))])

    calling = threading.Thread(target=call)
    calling.start()
    try:
        head = store.head()
        while store.head() < head + 50:
            write(store, folder, tmp_path / "a.jsonl")
    finally:
        stop.set()
        calling.join()
        other.close()

    assert verify_archive(tmp_path / "a.jsonl", trust_in(folder)).is_sound


def test_memory_does_not_grow_with_the_ledger(empty: SqliteStore, folder: Path, tmp_path: Path) -> None:
    empty.commit([calls.customer(grant=10**12)])

    peaks = [peak_of_a_copy(empty, folder, tmp_path / name) for name in ("small", "large")]

    assert peaks[1] < peaks[0] * 1.25


def test_a_read_that_fails_half_way_writes_nothing(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreRefused("the disk is full")

    monkeypatch.setattr(sqlite_restore.SqliteTables, "put_holds", fail)
    with pytest.raises(StoreRefused, match="full"):
        read_back(written, tmp_path / "copy")

    assert set(map(len, contents(tmp_path / "copy").values())) == {0}


def test_the_rows_of_a_ledger_are_told_apart_by_one_number(store: SqliteStore) -> None:
    before = digest_in(store)
    store.commit([calls.hold(1, calls.charge(700))])

    assert digest_in(store) != before
    assert verify(store).is_sound


def peak_of_a_copy(store: SqliteStore, folder: Path, place: Path) -> int:
    """Bytes that writing a ledger and reading it back take at most; the ledger has 4,000 facts more then."""
    for page in range(4):
        numbers = [store.head() + page * 500 + n for n in range(500)]
        store.commit([c for n in numbers for c in (calls.hold(1, calls.charge(n)), calls.release(calls.charge(n)))])
    seal_here(store, folder, "", 1_000)
    tracemalloc.start()
    try:
        write(store, folder, place.with_suffix(".jsonl"))
        read_back(place.with_suffix(".jsonl"), place)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def write(store: SqliteStore, folder: Path, path: Path, *, after: int = 0, with_vault: bool = False) -> Written:
    with written_whole(path) as out:
        return export(store, out, trusted(folder), 1_000, after=after, with_vault=with_vault)


def read_back(path: Path, folder: Path) -> Standing:
    SqliteStore(folder).close()
    with archive.opened(path) as opened:
        return restore(SqliteFilling(folder), opened)


def all_items(path: Path) -> list[archive.Item]:
    with archive.opened(path) as opened:
        return list(opened.items())


def with_footer(lines: list[bytes], standing: str) -> bytes:
    """Lines with a footer that counts and sums them as they are."""
    kinds = [json.loads(line)["line"] for line in lines]
    counts = archive.Counts(kinds.count("fact"), kinds.count("seal"), kinds.count("key"), kinds.count("secret"))
    body = b"".join(lines) + archive.encode(Totals(counts, standing))
    return body + archive.encode(Footer(sha256(body).hexdigest()))


def summed(lines: list[bytes]) -> list[bytes]:
    return [*lines, archive.encode(Footer(sha256(b"".join(lines)).hexdigest()))]


def reread(lines: list[bytes]) -> archive.Archive:
    """An archive of these lines."""
    header = archive.Header(archive.FORMAT, 1, 0, archive.CutShape(0, 0, 0, "0" * 64), {})
    return archive.Archive(io.BytesIO(with_footer([archive.encode(header), *lines], "")))


def nth(lines: list[dict[str, object]], kind: str, n: int) -> dict[str, object]:
    return [line for line in lines if line["line"] == kind][n]
