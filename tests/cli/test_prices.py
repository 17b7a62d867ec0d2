import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shell import Shell

COMMAND = Path(sys.executable).with_name("veloera")


def test_a_price_that_was_set_counts_and_the_others_stay(shell: Shell) -> None:
    before = len(shell.records("price", "list"))

    made = shell.record("price", "set", "my-model", "--ratio", "1.25", "--completion", "4", "--cache", "0.1")

    price = shell.record("price", "show", "my-model")
    assert made == {"model": "my-model", "ratio": "1.25", "completion": "4", "cache": "0.1", "per_call": None}
    assert (price["model_ratio"], price["completion_ratio"], price["cache_ratio"]) == ("1.25", "4", "0.1")
    assert len(shell.records("price", "list")) == before + 1


def test_what_is_not_named_stays(shell: Shell) -> None:
    shell.says("price", "set", "my-model", "--ratio", "1", "--completion", "4")

    changed = shell.record("price", "set", "my-model", "--ratio", "2")

    assert (changed["ratio"], changed["completion"]) == ("2", "4")


def test_a_ratio_takes_a_price_per_call_away(shell: Shell) -> None:
    per_call = shell.record("price", "set", "my-model", "--per-call", "0.04")
    sold_by_tokens = shell.record("price", "set", "my-model", "--ratio", "2")

    assert (per_call["per_call"], sold_by_tokens["per_call"]) == ("0.04", None)
    assert shell.record("price", "show", "my-model")["model_ratio"] == "2"


def test_a_price_that_was_taken_away_is_not_found(shell: Shell) -> None:
    shell.says("price", "set", "my-model", "--ratio", "1", "--completion", "4")

    shell.says("price", "unset", "my-model")

    assert shell.refuses("price", "show", "my-model")[0] == 3
    assert shell.refuses("price", "unset", "my-model")[0] == 3
    assert shell.records("price", "list", "--keyword", "my-") == []


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["--ratio", "-1"],
        ["--ratio", "1e9"],
        ["--ratio", '1,"x":2'],
        ["--ratio", "NaN"],
        ["--cache", "half"],
        ["--ratio", "1", "--per-call", "1"],
    ],
)
def test_a_price_that_cannot_be_is_refused_and_changes_nothing(shell: Shell, typed: list[str]) -> None:
    assert shell.refuses("price", "set", "my-model", *typed)[0] == 2
    assert shell.records("price", "list", "--keyword", "my-") == []


def test_setting_what_is_set_already_records_nothing(shell: Shell) -> None:
    shell.says("price", "set", "my-model", "--ratio", "1")
    before = shell.records("ledger", "tail")

    shell.says("price", "set", "my-model", "--ratio", "1.0")

    assert shell.records("ledger", "tail") == before


def test_a_group_pays_its_own_ratio(shell: Shell) -> None:
    shown = shell.record("price", "show", "sandbox-1", "--group", "strangers")

    assert (shown["group"], shown["group_ratio"], shown["model_ratio"]) == ("strangers", "1", "1")


def test_two_who_set_prices_at_once_undo_nothing_of_each_other(shell: Shell) -> None:
    command = [str(COMMAND), "--data-dir", str(shell.folder), "price", "set"]
    racing = [
        subprocess.Popen([*command, model, "--ratio", "3"], stdout=subprocess.DEVNULL) for model in ("my-a", "my-b")
    ]

    assert [process.wait(60) for process in racing] == [0, 0]
    assert {price["model"]: price["ratio"] for price in shell.records("price", "list", "--keyword", "my-")} == {
        "my-a": "3",
        "my-b": "3",
    }
