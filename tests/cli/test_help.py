import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.__main__ import veloera
from cli.failures import ExitCode

COMMAND = Path(sys.executable).with_name("veloera")
HEAVY = [
    "pydantic",
    "fastapi",
    "aiohttp",
    "eventsourcing",
    "cryptography",
    "tiktoken",
    "sqlite3",
    "uvloop",
    "hypercorn",
]
WHAT_IS_LOADED = f"import sys, cli.__main__; print(*[name for name in {HEAVY} if name in sys.modules])"
WITHOUT_JSON = ["serve"]  # it prints nothing but its log


def commands(group: click.Group = veloera, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command that a person may type, as the words it is typed with."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        elif not command.hidden:
            yield *path, name


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_says_what_it_does_with_an_example_that_could_be_typed(words: tuple[str, ...]) -> None:
    said = CliRunner().invoke(veloera, [*words, "--help"]).stdout

    example = said.partition("Example:")[2]
    assert f"veloera {' '.join(words)}" in example
    assert ("--json" in said) == (words[0] not in WITHOUT_JSON)


def test_the_commands_are_those_that_are_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

    missing = [" ".join(words) for words in commands() if f"`veloera {' '.join(words)}" not in documented]

    assert missing == []


def test_the_exit_codes_are_those_that_are_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

    assert all(f"| {int(code)} | " in documented for code in ExitCode)


def test_the_version_is_said_at_once() -> None:
    began = time.monotonic()
    done = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == f"veloera {version('veloera')}\n"
    assert time.monotonic() - began < 3.0  # 0.2 s on a quiet machine; what it may load is checked below


def test_a_start_loads_nothing_heavy() -> None:
    loaded = subprocess.run([sys.executable, "-c", WHAT_IS_LOADED], capture_output=True, text=True, check=True).stdout

    assert loaded.split() == []


def test_a_command_that_does_not_exist_is_a_usage_error() -> None:
    result = CliRunner().invoke(veloera, ["pay"])

    assert result.exit_code == ExitCode.USAGE
    assert "No such command" in result.stderr
