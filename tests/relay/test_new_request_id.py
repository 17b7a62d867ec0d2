"""The ids of calls: a version 7 UUID each, in the order of time, and no two the same in any process."""

from __future__ import annotations

import os
import time
from uuid import RFC_4122, UUID

from relay.call import new_request_id

PAGES = 3
IDS_A_PAGE = 400
MANY = PAGES * IDS_A_PAGE + 7
"""Over several pages of random digits, and into the next."""


def test_ids_are_uuids_of_version_7_with_the_moment_they_were_made_in_front() -> None:
    before_ms = time.time_ns() // 1_000_000
    ids = [new_request_id() for _ in range(MANY)]
    after_ms = time.time_ns() // 1_000_000

    uuids = [UUID(hex=text) for text in ids]
    assert [each.hex for each in uuids] == ids
    assert {(each.version, each.variant) for each in uuids} == {(7, RFC_4122)}
    moments = [each.int >> 80 for each in uuids]
    assert before_ms <= moments[0]
    assert moments == sorted(moments)
    assert moments[-1] <= after_ms


def test_the_74_random_bits_are_all_used_and_no_id_comes_twice() -> None:
    ids = [UUID(hex=new_request_id()).int for _ in range(MANY)]

    assert len(set(ids)) == MANY
    # Of 1,207 draws each bit is set about half the time: outside a quarter and three quarters it is stuck.
    random_bits = [*range(62), *range(64, 76)]
    assert all(MANY / 4 < sum(each >> bit & 1 for each in ids) < 3 * MANY / 4 for bit in random_bits)


def test_a_forked_child_does_not_repeat_the_ids_of_its_parent() -> None:
    new_request_id()  # a page is there, half used
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, "".join(new_request_id()[12:] for _ in range(5)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)

    digits = len(new_request_id()[12:])
    children = {said[at : at + digits] for at in range(0, len(said), digits)}
    assert len(children) == 5
    assert children.isdisjoint(new_request_id()[12:] for _ in range(5))
