"""A record of the spool is read whole as it was written, or not at all; and what is missing is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.commands import Release, Settle
from ledger.spool_frames import MAX_RECORD_BYTES, Unreadable, decode, encode, framed, scan
from tests.laws import calls

RECORDS = [encode(calls.settle(n, calls.charge(n), capped=n % 2 == 0), 1_000 + n) for n in range(3)]
FRAMES = [framed(record) for record in RECORDS]
FILE = b"".join(FRAMES)
ENDS = [sum(map(len, FRAMES[:n])) for n in range(4)]


def test_an_end_is_read_as_it_was_written() -> None:
    settle: Settle = calls.settle(7, capped=True, extensions=2)
    release: Release = calls.release(extensions=1)

    there = [decode(encode(settle, 12)), decode(encode(release, 13))]

    assert there == [(settle, 12), (release, 13)]


def test_a_write_cut_off_at_any_byte_leaves_the_records_before_it_and_no_damage() -> None:
    for size in range(len(FILE) + 1):
        found = scan(FILE[:size])

        whole = max(n for n in range(4) if ENDS[n] <= size)
        assert found == (RECORDS[:whole], ENDS[whole], [], size - ENDS[whole]), size


def test_zeros_that_a_power_cut_left_in_place_of_a_write_are_a_torn_tail() -> None:
    found = scan(FILE + bytes(500))

    assert (found.records, found.damaged, found.torn) == (RECORDS, [], 500)


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_a_byte_that_changed_costs_its_own_record_and_is_always_seen(at: int, flip: int) -> None:
    changed = bytearray(FILE)
    changed[at] ^= flip

    found = scan(bytes(changed))

    hit = max(n for n in range(3) if ENDS[n] <= at)
    assert found.records == RECORDS[:hit] + RECORDS[hit + 1 :]
    assert found.damaged == [(ENDS[hit], ENDS[hit + 1])]
    assert found.torn == 0


@given(st.binary(max_size=2_000))
def test_any_bytes_are_told_from_records(data: bytes) -> None:
    found = scan(data)

    assert found.records == []
    assert sum(end - start for start, end in found.damaged) + found.torn == len(data)


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8), st.binary(max_size=64), st.integers(0, 8))
def test_records_around_rubbish_are_all_found(payloads: list[bytes], rubbish: bytes, place: int) -> None:
    frames = [framed(payload) for payload in payloads]
    frames.insert(min(place, len(frames)), rubbish)

    found = scan(b"".join(frames))

    assert found.records == payloads


@pytest.mark.parametrize("payload", [b'{"type":"settle/2","at_ms":1}', b"no JSON", b"\xff"])
def test_a_record_that_a_newer_version_wrote_is_named_unreadable(payload: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(payload)


def test_the_largest_record_that_is_taken_is_found_again() -> None:
    payload = b"x" * MAX_RECORD_BYTES

    assert scan(framed(payload)).records == [payload]
