"""Stores for commands: none yet, or one that was just made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.shell import Shell


@pytest.fixture
def empty(tmp_path: Path) -> Shell:
    """A shell on a folder without a ledger."""
    return Shell(tmp_path / "data")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that was just made; copied, so that each test need not wait for a password's hash."""
    folder = tmp_path_factory.mktemp("made") / "data"
    Shell(folder).says("init", "--json")
    return folder


@pytest.fixture
def shell(empty: Shell, made_once: Path) -> Shell:
    """A shell on a store that was just made: root is user 1, its key is key 1, the sandbox is channel 1."""
    shutil.copytree(made_once, empty.folder)
    return empty
