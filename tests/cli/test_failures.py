import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli.failures import failure_of
from cli.kinds import Quota
from tests.cli.shell import Shell

COMMAND = Path(sys.executable).with_name("veloera")


@pytest.mark.parametrize(
    "typed", [["ledger", "verify"], ["user", "list"], ["price", "list"], ["replay"], ["ledger", "tail"]]
)
def test_a_folder_without_a_ledger_is_not_found_and_gets_none(empty: Shell, typed: list[str]) -> None:
    code, said = empty.refuses(*typed)

    assert code == 3
    assert "veloera init" in said
    assert not empty.folder.exists()


def test_a_ledger_of_a_newer_version_is_left_alone(shell: Shell) -> None:
    with sqlite3.connect(shell.folder / "ledger.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    code, said = shell.refuses("ledger", "verify")

    assert code == 5
    assert "upgrade" in said


def test_a_ledger_with_another_secret_says_which_one_it_wants(shell: Shell) -> None:
    (shell.folder / "secret.key").write_text("another")

    code, said = shell.refuses("user", "list")

    assert code == 5
    assert "CRYPTO_SECRET" in said


def test_a_file_that_is_no_ledger_is_refused_in_a_sentence(empty: Shell) -> None:
    empty.folder.mkdir()
    (empty.folder / "ledger.db").write_text("a shopping list, and nothing else" * 100)

    code, said = empty.refuses("ledger", "verify")

    assert code == 5
    assert said.count("\n") == 1


def test_a_wrong_variable_stops_the_command_and_is_named(shell: Shell) -> None:
    env = {**os.environ, "DATA_DIR": str(shell.folder), "PORT": "many"}

    done = subprocess.run([COMMAND, "ledger", "verify"], env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("Error: PORT: ")


def test_the_folder_comes_from_the_environment_unless_it_is_named(shell: Shell, tmp_path: Path) -> None:
    env = {**os.environ, "DATA_DIR": str(tmp_path / "elsewhere")}

    there = subprocess.run(
        [COMMAND, "--data-dir", shell.folder, "ledger", "verify"], env=env, capture_output=True, check=False
    )
    elsewhere = subprocess.run([COMMAND, "ledger", "verify"], env=env, capture_output=True, check=False)

    assert (there.returncode, elsewhere.returncode) == (0, 3)


def test_an_address_that_is_taken_ends_the_start_in_a_sentence(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [
            str(COMMAND),
            "--data-dir",
            str(shell.folder),
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(taken.getsockname()[1]),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 5
    assert "choose another with --host or --port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_stays_loud() -> None:
    assert failure_of(KeyError("nobody expected this")) is None


@pytest.mark.parametrize(
    ("typed", "mills"), [("1", 1_000), ("0.125", 125), ("1,000.5", 1_000_500), ("1_000", 1_000_000)]
)
def test_an_amount_of_quota_is_read_exactly(typed: str, mills: int) -> None:
    assert Quota().convert(typed, None, None) == mills


@pytest.mark.parametrize("typed", ["", "NaN", "Infinity", "0.0005", "-1", "9000000000000001", "five"])
def test_an_amount_that_is_none_is_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter):
        Quota().convert(typed, None, None)
