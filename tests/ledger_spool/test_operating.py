"""An operator sees what waits: in `/readyz`, in the metrics and on the command line."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from api.app import create_app
from api.compose import Services, start_services, stop_services
from api.settings import Environment
from ledger.spool import SpooledLedger, open_spool
from ledger.writer import Writer
from tests.cli.shell import Shell
from tests.laws import calls
from tests.ledger_spool.books import held
from tests.ledger_spool.faulty import FaultyStore


async def test_readiness_and_metrics_say_what_waits(tmp_path: Path) -> None:
    services = start_services(Environment(data_dir=tmp_path / "data"))
    store = FaultyStore(tmp_path / "data")
    writer = Writer(store)
    store.commit([calls.customer(grant=10**6)])
    held(store, 2)
    spool = open_spool(tmp_path / "data" / "spool", writer, name="0001")
    before = await asked(services, "/readyz")
    services.desk.ledger = SpooledLedger(writer, spool)

    spool.keep(calls.settle(1, calls.charge(99))).result(5)
    spool.keep(calls.settle(1, calls.charge(1))).result(5)
    assert spool.await_drained(5)
    store.fault = "away"
    spool.keep(calls.settle(1, calls.charge(0))).result(5)
    ready, metrics = await asked(services, "/readyz"), await asked(services, "/metrics")
    spool.close()
    stop_services(services)
    writer.close()
    store.close()

    assert "spool" not in before.json()
    assert ready.status_code == 200
    said = ready.json()["spool"]
    assert (said["waiting"], said["refused"]) == (1, 1)
    shown = dict(re.findall(r"^veloera_spool_(\w+)(?:{.*})? (\S+)$", metrics.text, flags=re.MULTILINE))
    assert (shown["waiting"], shown["drained_total"], shown["refused_total"]) == ("1.0", "1.0", "1.0")
    assert 0 <= float(shown["age_seconds"]) < 10


async def asked(services: Services, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get(path)


def test_the_command_line_lists_what_waits_and_drains_it(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "data")
    shell.says("init", "--json")
    left_behind(shell)

    before = shell.record("ledger", "spool")
    told = shell.says("ledger", "spool")
    drained = shell.record("ledger", "spool", "--drain")
    after = shell.says("ledger", "spool")

    assert (before["waiting"], before["refused"], before["drained"]) == (2, 0, 0)
    assert "2 ends of calls wait for the database" in told
    assert (drained["waiting"], drained["refused"], drained["drained"]) == (0, 1, 1)
    assert after.splitlines()[0] == "Nothing waits."
    assert "1 records were refused; they are in spool/refused.jsonl" in after


def test_the_command_line_leaves_what_a_living_process_has_in_charge(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "data")
    shell.says("init", "--json")
    store = FaultyStore(shell.folder)
    store.fault = "away"
    writer = Writer(store)
    spool = open_spool(shell.folder / "spool", writer, name="0001")
    spool.keep(calls.settle(1, calls.charge(0))).result(5)

    seen = shell.record("ledger", "spool", "--drain")
    spool.close()
    writer.close()
    store.close()

    assert (seen["waiting"], seen["drained"]) == (1, 0)


def test_damage_is_an_exit_code(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "data")
    shell.says("init", "--json")
    path = left_behind(shell)
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    found = shell.run("ledger", "spool")
    drained = shell.run("ledger", "spool", "--drain")

    assert (found.exit_code, drained.exit_code) == (1, 1)
    assert f"Damaged, and kept for you to look at: {path.name}.damaged" in drained.stdout


def test_without_a_spool_nothing_waits(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "data")

    assert shell.record("ledger", "spool", "--drain")["waiting"] == 0


def left_behind(shell: Shell) -> Path:
    """The file of a process that died with a settlement of a call that was held, and one of a call that never was."""
    store = FaultyStore(shell.folder)
    held(store, 1)
    store.fault = "away"
    writer = Writer(store)
    spool = open_spool(shell.folder / "spool", writer, name="0001")
    for n in (0, 99):
        spool.keep(calls.settle(1, calls.charge(n))).result(5)
    spool.close()
    writer.close()
    store.close()
    (path,) = (shell.folder / "spool").glob("*.spool")
    return path
