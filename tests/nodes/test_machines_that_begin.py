"""Machines that begin at the same moment on an empty database make one house, and each lets the one root account in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from tests.harness.admin import Data, as_object
from tests.harness.gateway import logged_in
from tests.harness.postgres import shared_server
from tests.harness.process import Process
from tests.nodes.machines import SECRETS, House

MACHINES = 5
OPENING_MILLS = 100_000_000_000


@pytest.fixture
def empty_house() -> House:
    server = shared_server()
    return House(server, server.database(), {})


@pytest.fixture
def machines(empty_house: House, tmp_path: Path) -> Iterator[list[Process]]:
    """Not started."""
    names = [f"machine-{number}" for number in range(MACHINES)]
    made = [
        Process(tmp_path / name, {**SECRETS, "NODE_NAME": name, "SQL_DSN": empty_house.dsn(name)}) for name in names
    ]
    yield made
    for machine in made:
        machine.kill()


def test_five_machines_that_start_at_once_on_an_empty_database_make_one_root_account(
    empty_house: House, machines: list[Process]
) -> None:
    with ThreadPoolExecutor(MACHINES) as at_once:
        list(at_once.map(Process.start, machines))
    told = [path.read_text() for machine in machines for path in machine.data_dir.glob("first-login.txt")]
    password = re.findall(r"password\s+(\S+)", told[0])[0]
    people = [logged_in(machine.url, "root", password) for machine in machines]
    listed = [as_object(one.get("/api/user/", p=1, page_size=100)) for one in people]
    balances = [one.balance().available_mills for one in people]
    channels = cast("list[Data]", people[0].get("/api/channel/"))

    assert len(told) == 1
    assert [page["total"] for page in listed] == [1] * MACHINES
    assert balances == [OPENING_MILLS] * MACHINES
    assert [one["name"] for one in channels] == ["sandbox"]
    assert machines[0].run("ledger", "verify", "--json").returncode == 0
    for one in people:
        one.close()
