import sqlite3

import pytest

from cli import benching
from tests.cli.shell import Shell


def test_a_replay_finds_the_read_models_as_their_facts_say(shell: Shell) -> None:
    shell.charges()

    report, said = shell.record("replay"), shell.says("replay")

    assert (report["same"], report["switched"]) == (True, False)
    assert "The read models say what their facts say" in said


def test_a_row_that_differs_is_found_and_a_fresh_replay_mends_it(shell: Shell) -> None:
    shell.charges()
    shell.says("user", "list")
    with sqlite3.connect(shell.folder / "read.db") as connection:
        connection.execute("UPDATE people_v1 SET used_mills = 1")
    connection.close()

    found = shell.run("replay")
    fresh = shell.record("replay", "--fresh")

    assert found.exit_code == 1
    assert "people_v1: 1 rows differ" in found.stdout
    assert fresh["switched"] is True
    assert shell.record("user", "show", "root")["used_mills"] == 34_000


def test_read_models_that_were_deleted_are_folded_again_by_whoever_asks(shell: Shell) -> None:
    shell.charges()
    (shell.folder / "read.db").unlink(missing_ok=True)

    assert shell.record("user", "show", "root")["used_mills"] == 34_000


def test_the_benchmarks_are_handed_their_own_arguments(shell: Shell) -> None:
    assert "--quick" in shell.says("bench", "--", "--help")


def test_without_the_repository_the_benchmarks_say_where_they_are(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benching, "find_spec", lambda _name: None)

    code, said = shell.refuses("bench")

    assert code == 3
    assert "make bench" in said
