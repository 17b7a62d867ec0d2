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


def test_a_fresh_replay_is_taken_back_and_the_kept_read_models_are_live_again(shell: Shell) -> None:
    shell.charges()
    shell.says("user", "list")
    with sqlite3.connect(shell.folder / "read.db") as connection:
        connection.execute("UPDATE people_v1 SET used_mills = 1")
    connection.close()
    shell.record("replay", "--fresh", "--no-compare")
    shell.charges()

    back = shell.record("replay", "--back")

    assert back["switched_back"] is True
    assert shell.record("user", "show", "root")["used_mills"] == 34_001
    assert shell.run("replay").exit_code == 1


def test_without_a_switch_there_is_nothing_to_take_back(shell: Shell) -> None:
    code, said = shell.refuses("replay", "--back")

    assert code == 5
    assert "no switch yet" in said


@pytest.mark.parametrize("typed", [("--back", "--fresh"), ("--no-compare",), ("--processes", "9")])
def test_options_that_do_not_go_together_are_refused(shell: Shell, typed: tuple[str, ...]) -> None:
    code, _ = shell.refuses("replay", *typed)

    assert code == 2


def test_two_processes_build_what_one_does_and_say_how_fast(shell: Shell) -> None:
    shell.charges()

    one, two = shell.record("replay"), shell.record("replay", "--processes", "2")

    assert (two["same"], two["digest"], two["facts"]) == (True, one["digest"], one["facts"])
    assert all(isinstance(two[name], int) and two[name] for name in ("facts_per_s", "peak_mb"))


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
