"""Sealing, proving, writing and reading back, as they are typed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.shell import Record, Shell

COMMAND = Path(sys.executable).with_name("veloera")


@pytest.fixture
def sealed(shell: Shell) -> Shell:
    """A store with a call in it, all of it sealed."""
    shell.charges()
    shell.says("ledger", "seal")
    return shell


@pytest.fixture
def elsewhere(tmp_path: Path) -> Shell:
    """A machine without a ledger."""
    return Shell(tmp_path / "elsewhere")


def test_sealing_says_what_it_sealed_and_does_it_once(shell: Shell) -> None:
    first, second = shell.record("ledger", "seal"), shell.record("ledger", "seal")

    head = shell.record("ledger", "verify")["head"]
    assert (first["blocks_made"], first["facts_sealed"], first["last_position"]) == (1, head, head)
    assert (second["blocks_made"], second["facts_sealed"], second["hash"]) == (0, 0, first["hash"])


def test_a_sealed_ledger_is_proven_whole(sealed: Shell) -> None:
    request_id = sealed.charges(settled=False)

    report, said = sealed.record("ledger", "verify", "--full"), sealed.says("ledger", "verify", "--full")

    assert (report["sound"], report["blocks"], report["unsealed_facts"]) == (True, 1, 1)
    assert report["newest_block"] == {"block": 1, "hash": sealed.record("ledger", "anchor")["hash"]}
    assert "Every block is as it was sealed: 1 blocks with" in said
    assert sealed.record("ledger", "explain", request_id)["block"] is None


def test_a_ledger_without_a_seal_says_so(shell: Shell) -> None:
    assert "Nothing is sealed yet." in shell.says("ledger", "verify", "--full")
    assert shell.refuses("ledger", "anchor")[0] == 3


def test_a_call_that_was_taken_out_is_found_by_its_block_alone(sealed: Shell) -> None:
    tampered(
        sealed,
        "DELETE FROM stored_events WHERE topic LIKE 'charge.%'",
        "UPDATE balances SET balance = 100000000000 WHERE account = 'user:1:available'",
    )

    plain, full = sealed.run("ledger", "verify"), sealed.run("ledger", "verify", "--full")

    assert (plain.exit_code, full.exit_code) == (0, 1)
    assert "first at block 1 (positions 1 to 10)" in full.stdout


def test_an_anchor_tells_a_ledger_that_was_replaced(sealed: Shell, elsewhere: Shell, tmp_path: Path) -> None:
    anchors = tmp_path / "anchors.jsonl"
    anchors.write_text(sealed.says("ledger", "anchor", "--json"))
    hash_ = str(sealed.record("ledger", "anchor")["hash"])
    elsewhere.says("init", "--json")
    elsewhere.says("ledger", "seal")

    told = [sealed.run("ledger", "verify", "--anchor", named) for named in (str(anchors), hash_)]
    other = [elsewhere.run("ledger", "verify", "--anchor", named) for named in (str(anchors), hash_)]

    assert [result.exit_code for result in told] == [0, 0]
    assert [result.exit_code for result in other] == [1, 1]
    assert "block 1 is another one" in other[0].stdout
    assert "there is no such block" in other[1].stdout
    assert sealed.refuses("ledger", "verify", "--anchor", "yesterday's")[0] == 2


def test_a_key_is_shown_replaced_and_stays_good_for_what_it_signed(sealed: Shell) -> None:
    old = sealed.record("ledger", "seal-key")

    new = sealed.record("ledger", "seal-key", "--new")
    sealed.charges()
    sealed.says("ledger", "seal")

    assert old["key_id"] != new["key_id"]
    assert sealed.says("ledger", "seal-key") == new["pem"]
    assert sealed.record("ledger", "verify", "--full")["sound"] is True
    (sealed.folder / "seal-keys" / f"{old['key_id']}.pub").unlink()
    assert sealed.run("ledger", "verify", "--full").exit_code == 1


def test_the_key_of_another_machine_is_trusted_where_it_is_named(sealed: Shell, tmp_path: Path) -> None:
    pem = tmp_path / "seal.pub"
    pem.write_text(sealed.says("ledger", "seal-key"))
    shutil.rmtree(sealed.folder / "seal-keys")
    (sealed.folder / "seal.key").unlink()

    without, named = sealed.run("ledger", "verify", "--full"), sealed.run("ledger", "verify", "--trust", str(pem))

    assert (without.exit_code, named.exit_code) == (1, 0)
    assert sealed.refuses("ledger", "verify", "--trust", "0" * 32)[0] == 2
    assert sealed.refuses("ledger", "verify", "--trust", str(sealed.folder / "ledger.lock"))[0] == 2


def test_the_key_may_come_from_the_environment(shell: Shell) -> None:
    environment = {**os.environ, "SEAL_KEY": "A" * 43 + "=", "DATA_DIR": str(shell.folder)}

    def ran(*typed: str) -> str:
        return subprocess.run([COMMAND, *typed], env=environment, capture_output=True, text=True, check=True).stdout

    ran("ledger", "seal")

    assert "Every block is as it was sealed" in ran("ledger", "verify", "--full")
    assert not (shell.folder / "seal.key").exists()
    assert len(list((shell.folder / "seal-keys").iterdir())) == 1
    refused = subprocess.run(
        [COMMAND, "ledger", "seal-key", "--new"], env=environment, capture_output=True, check=False
    )
    assert refused.returncode == 2


def test_a_proof_of_a_call_is_checked_on_another_machine(sealed: Shell, elsewhere: Shell, tmp_path: Path) -> None:
    request_id = sealed.charges()
    sealed.says("ledger", "seal")
    proof, pem = tmp_path / "proof.json", tmp_path / "seal.pub"
    proof.write_text(sealed.says("ledger", "prove", request_id, "--json"))
    key = sealed.record("ledger", "seal-key")
    pem.write_text(str(key["pem"]))

    by_file = elsewhere.records("ledger", "check-proof", str(proof), "--trust", str(pem))
    by_id = elsewhere.records("ledger", "check-proof", str(proof), "--trust", str(key["key_id"]))

    assert by_file == by_id
    assert [(line["proven"], line["topic"], line["stream"]) for line in by_file] == [
        (True, "charge.held/1", request_id),
        (True, "charge.settled/1", request_id),
    ]
    assert elsewhere.refuses("ledger", "check-proof", str(proof))[0] == 1
    assert sealed.run("ledger", "check-proof", str(proof)).exit_code == 0


def test_a_proof_that_was_altered_is_none(sealed: Shell, tmp_path: Path) -> None:
    proof = tmp_path / "proof.json"
    told = sealed.says("ledger", "prove", "3", "--json")
    proof.write_text(told.replace('"position":3', '"position":4'))

    exit_code, said = sealed.refuses("ledger", "check-proof", str(proof))
    as_json = sealed.run("ledger", "check-proof", str(proof), "--json")

    assert exit_code == 1
    assert "line 1: the fact is not the one in block 1" in said
    assert (as_json.exit_code, json.loads(as_json.stdout)["proven"]) == (1, False)


def test_a_fact_is_proven_by_its_position_or_its_stream(sealed: Shell) -> None:
    by_position = sealed.record("ledger", "prove", "3")

    by_stream = sealed.records("ledger", "prove", str(by_position["stream"]))

    assert by_position in by_stream
    assert "is number 3 of 10 in block 1" in sealed.says("ledger", "prove", "3")


def test_what_cannot_be_proven_is_said_so(sealed: Shell) -> None:
    request_id = sealed.charges(settled=False)

    refused = [sealed.refuses("ledger", "prove", what)[0] for what in (request_id, "999", "0" * 32, "yesterday's")]

    assert refused == [4, 3, 3, 2]


def test_a_call_says_which_block_it_is_sealed_in(sealed: Shell) -> None:
    (request_id,) = {str(line["stream"]) for line in sealed.records("ledger", "tail", "-n", "2")}

    assert sealed.record("ledger", "explain", request_id)["block"] == 1
    assert "sealed in block 1" in sealed.says("ledger", "explain", request_id)


def test_a_ledger_moves_to_another_machine_with_everything_in_it(
    sealed: Shell, elsewhere: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "ledger.jsonl.gz"
    sealed.says("user", "create", "alice", "--quota", "7.5", "--password", "correct horse battery")
    sealed.says("ledger", "seal")
    written = sealed.record("ledger", "export", str(file), "--with-vault")
    elsewhere.folder.mkdir()
    shutil.copy(sealed.folder / "secret.key", elsewhere.folder)
    key_id = str(sealed.record("ledger", "seal-key")["key_id"])

    report = elsewhere.record("ledger", "import", str(file), "--trust", key_id)

    before, after = (shell.record("ledger", "verify", "--full") for shell in (sealed, elsewhere))
    assert (report["sound"], report["facts"]) == (True, written["facts"])
    assert before == after
    assert [user["username"] for user in elsewhere.records("user", "list")] == ["alice", "root"]
    assert elsewhere.record("user", "show", "alice")["available_mills"] == 7_500
    elsewhere.charges()
    assert elsewhere.record("ledger", "seal")["blocks_made"] == 1
    assert elsewhere.record("ledger", "verify", "--full")["sound"] is True


def test_an_archive_by_a_key_that_nobody_vouches_for_is_not_read(
    sealed: Shell, elsewhere: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "ledger.jsonl"
    sealed.says("ledger", "export", str(file))

    exit_code, said = elsewhere.refuses("ledger", "import", str(file))

    assert exit_code == 1
    assert "name it with --trust" in said
    assert not elsewhere.folder.exists()


def test_an_archive_is_read_into_an_empty_ledger_only(sealed: Shell, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    sealed.says("ledger", "export", str(file))

    exit_code, said = sealed.refuses("ledger", "import", str(file))

    assert exit_code == 4
    assert "not empty" in said


def test_an_archive_is_checked_without_any_ledger(sealed: Shell, elsewhere: Shell, tmp_path: Path) -> None:
    file, key_id = tmp_path / "ledger.jsonl.gz", str(sealed.record("ledger", "seal-key")["key_id"])
    sealed.says("ledger", "export", str(file))
    broken = tmp_path / "broken.jsonl"
    sealed.says("ledger", "export", str(broken))
    broken.write_bytes(broken.read_bytes().replace(b'"position":5', b'"position":6'))
    anchor = str(sealed.record("ledger", "anchor")["hash"])

    sound = elsewhere.record("ledger", "verify", "--archive", str(file), "--trust", key_id, "--anchor", anchor)
    found = elsewhere.run("ledger", "verify", "--archive", str(broken), "--trust", key_id)

    assert (sound["sound"], sound["facts"], sound["blocks"]) == (True, 10, 1)
    assert found.exit_code == 1
    assert "The archive differs from its events" in found.stdout
    assert not elsewhere.folder.exists()


def test_a_part_of_a_ledger_is_written_from_a_block_on(sealed: Shell, tmp_path: Path) -> None:
    sealed.charges()
    sealed.says("ledger", "seal")
    file = tmp_path / "part.jsonl"

    written = sealed.record("ledger", "export", str(file), "--after", "11")

    said = sealed.says("ledger", "verify", "--archive", str(file))
    assert (written["facts"], written["blocks"]) == (2, 1)
    assert "a part of a ledger has no balances" in said


def test_an_archive_on_stdout_is_the_archive_and_nothing_else(sealed: Shell, tmp_path: Path) -> None:
    result = sealed.run("ledger", "export", "-", "--json")

    lines: list[Record] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (lines[0]["line"], lines[-1]["line"], len(lines)) == ("header", "footer", 14)
    assert "Wrote 10 facts" in result.stderr


def test_an_archive_is_its_owners_alone_and_holds_no_secret(sealed: Shell, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    sealed.says("user", "create", "somebody-with-a-name")

    sealed.says("ledger", "export", str(file))

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "somebody-with-a-name" not in file.read_text()
    assert '"line":"secret"' not in file.read_text()


def test_a_ledger_without_its_vault_keeps_its_books_and_lets_people_in_anew(
    sealed: Shell, elsewhere: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "ledger.jsonl"
    sealed.says("user", "create", "alice", "--quota", "7.5")
    sealed.says("ledger", "export", str(file))
    elsewhere.says("ledger", "import", str(file), "--trust", str(sealed.record("ledger", "seal-key")["key_id"]))

    elsewhere.says("user", "password", "2", "--password", "a new password")
    key = elsewhere.record("key", "create", "2")

    assert elsewhere.record("user", "show", "2")["available_mills"] == 7_500
    assert str(key["key"]).startswith("sk-")
    assert elsewhere.record("ledger", "verify", "--full")["sound"] is True


def tampered(shell: Shell, *statements: str) -> None:
    """Change what is stored, behind the ledger's back."""
    with closing(sqlite3.connect(shell.folder / "ledger.db")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
