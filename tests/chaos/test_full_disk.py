"""A server whose disk is full refuses, loses nothing that was acknowledged, and is used again when there is room."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import TypedDict

import pytest

from tests.chaos.knobs import cases
from tests.ledger.test_full_disk import PRIVATE_MOUNTS, ROOT, may_mount

POSSIBLE = ["limit", *(["tmpfs"] if may_mount() else [])]


class Seen(TypedDict):
    held: int
    refused: int
    said: str
    lost: int
    resumed: bool
    back_s: float
    again: list[str]
    differences: list[str]


@pytest.mark.parametrize("kind", cases(POSSIBLE, POSSIBLE[-1:]))
def test_a_server_with_a_full_disk_refuses_loses_nothing_and_is_used_again_when_there_is_room(
    kind: str, record_property: Callable[[str, object], None]
) -> None:
    seen = fill(kind)

    record_property(
        "told", f"full disk of PostgreSQL ({kind}): {seen['held']} held, {seen['lost']} lost: {seen['said']}"
    )
    assert seen["held"] > 0
    assert seen["refused"] > 0
    assert seen["lost"] == 0
    assert (seen["resumed"], seen["again"], seen["differences"]) == (True, ["exists"], [])


def fill(kind: str) -> Seen:
    alone = PRIVATE_MOUNTS if kind == "tmpfs" else []
    command = [*alone, sys.executable, "-m", "tests.chaos.full_server", kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    seen: Seen = json.loads(done.stdout)
    return seen
