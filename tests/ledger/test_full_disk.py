"""A full disk refuses, loses nothing that was acknowledged, and is over when there is room again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PRIVATE_MOUNTS: Final = ["unshare", "--mount"]


def may_mount() -> bool:
    """True where this user may mount a file system that only one process sees."""
    try:
        return subprocess.run([*PRIVATE_MOUNTS, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["limit", *(["tmpfs"] if may_mount() else [])])
def test_a_full_disk_refuses_loses_nothing_and_is_over_when_there_is_room(tmp_path: Path, kind: str) -> None:
    seen = fill(tmp_path / "data", kind)

    assert (seen["refused"], seen["lost"]) == (50, 0)
    assert seen["resumed"] == ["created"] * 5
    assert seen["again"] == ["exists"] * 20  # of what was acknowledged before
    assert seen["differences"] == []


def fill(folder: Path, kind: str) -> dict[str, object]:
    alone = PRIVATE_MOUNTS if kind == "tmpfs" else []
    command = [*alone, sys.executable, "-m", "tests.ledger.filling", str(folder), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, object] = json.loads(done.stdout)
    return seen
