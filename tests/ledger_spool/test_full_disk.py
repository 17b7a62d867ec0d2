"""A full disk keeps nothing more and says so; what was kept before stays, and it is over when there is room again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.test_full_disk import PRIVATE_MOUNTS, ROOT, may_mount


@pytest.mark.parametrize("kind", ["limit", *(["tmpfs"] if may_mount() else [])])
def test_a_full_disk_keeps_nothing_more_loses_nothing_and_is_over_when_there_is_room(tmp_path: Path, kind: str) -> None:
    seen = fill(tmp_path / "data", kind)

    assert seen["refused"] == 20
    assert seen["resumed"] == [True] * 5
    assert seen["survived"] == seen["kept"] + 5 > 20
    assert (seen["drained"], seen["lost"], seen["charged_for_nothing"], seen["damaged"]) == (True, 0, 0, 0)
    assert seen["differences"] == []


def fill(folder: Path, kind: str) -> dict[str, Any]:
    alone = PRIVATE_MOUNTS if kind == "tmpfs" else []
    command = [*alone, sys.executable, "-m", "tests.ledger_spool.filling", str(folder), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
