"""An embedded ledger is made once, whoever comes first, and is not opened where it cannot be kept."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest

from ledger import sqlite
from ledger.errors import LedgerUnavailable, StoreRefused
from ledger.sqlite import SqliteStore, refuse_network_file_system
from ledger.vault import open_vault
from ledger.verify import verify
from tests.laws import calls
from tests.ledger.places import FilePlace

ROOT = Path(__file__).resolve().parent.parent.parent
PROCESSES = 5
OPENS = """
import json, sys
from pathlib import Path
from ledger.sqlite import SqliteStore
from ledger.vault import open_vault
from tests.laws import calls
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
store = SqliteStore(folder)
vault = open_vault(store, folder)
ids = [store.commit([calls.customer(f"{sys.argv[2]}-{n}", grant=5)])[0].id for n in range(20)]
print(json.dumps({"digest": vault.digest("username", "ada"), "ids": ids}))
"""


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_make_one_ledger_at_once_all_come_up_with_the_same_one(tmp_path: Path, attempt: int) -> None:
    folder = tmp_path / "data"
    processes = [opening(folder, n) for n in range(PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    answers = [process.communicate("go\n", timeout=60) for process in let_go(processes)]

    assert [error for _, error in answers] == [""] * PROCESSES
    seen = [json.loads(out) for out, _ in answers]
    assert len({one["digest"] for one in seen}) == 1
    assert sorted(number for one in seen for number in one["ids"]) == list(range(1, 20 * PROCESSES + 1))
    with closing(SqliteStore(folder)) as store:
        assert verify(store).is_sound


def test_whoever_comes_while_another_makes_the_ledger_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "ledger.lock").touch()
    with FilePlace(tmp_path).locked(), closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as making:
        making.execute("CREATE TABLE something (x)")
        making.execute("BEGIN")
        making.execute("SELECT x FROM something").fetchall()
        coming = Future[SqliteStore]()
        threading.Thread(target=lambda: coming.set_result(SqliteStore(tmp_path))).start()
        with pytest.raises(TimeoutError):
            coming.result(0.3)
        making.execute("COMMIT")

    with closing(coming.result(5)) as store:
        assert store.head() == 0


def test_a_ledger_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path)) as store:
        store.commit([calls.customer(grant=5)])
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute(f"PRAGMA user_version = {sqlite.SCHEMA_VERSION + 1}")
    before = FilePlace(tmp_path).contents()

    with pytest.raises(StoreRefused, match="upgrade"):
        SqliteStore(tmp_path)

    assert FilePlace(tmp_path).contents() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this is a letter, and long enough not to be taken for an empty file\n" * 20)

    with pytest.raises((StoreRefused, LedgerUnavailable)):
        SqliteStore(tmp_path)


def test_a_network_file_system_is_refused_also_where_it_is_mounted_further_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n/dev/sdb {tmp_path}/local ext4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)

    refuse_network_file_system(tmp_path / "local" / "data")
    with pytest.raises(StoreRefused, match="nfs4"):
        refuse_network_file_system(tmp_path / "data")


def test_a_commit_survives_the_loss_of_power_because_it_waits_for_the_disk(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path)) as store:
        (synchronous,) = store._connection.execute("PRAGMA synchronous").fetchone()
        (journal,) = store._connection.execute("PRAGMA journal_mode").fetchone()

    assert (synchronous, journal) == (2, "wal")


def test_a_store_that_is_closed_and_opened_again_is_the_same(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path)) as store:
        store.commit([calls.customer(grant=500), calls.hold(100)])
        open_vault(store, tmp_path)
    before = FilePlace(tmp_path).contents()

    with closing(SqliteStore(tmp_path)) as store:
        again = store.commit([calls.hold(100)])[0].status
        open_vault(store, tmp_path)

    assert again == "exists"
    assert FilePlace(tmp_path).contents() == before


def opening(folder: Path, number: int) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OPENS, str(folder), str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def let_go(processes: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """All at the same moment: each waits for a line, and answers when it has one."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes
