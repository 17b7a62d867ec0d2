"""The parts of a serving process in the moment when something else ends: a child, a leader, the database, the process itself."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from api.children import Child
from api.compose import start_services, stop_services
from api.jobs import Jobs
from api.settings import Environment
from ledger.errors import LedgerUnavailable
from ledger.vault import Vault
from projections.directory import Directory
from tests.api.house import MODEL, House
from tests.harness.mortal import is_there
from tests.harness.waiting import eventually

SLEEP, SHELL = shutil.which("sleep") or "/bin/sleep", "/bin/sh"
DEAF = [SHELL, "-c", f"trap '' TERM; exec {SLEEP} 60"]
STOP_S = 0.5
TOLD_WHILE_IT_LOOKS = """
import signal
from api.stopping import told_to_stop
stop = told_to_stop()
with stop._cond:  # where wait() is for a moment, each time it is called
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(number)
print(stop.wait(10))
"""


def process(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    site = House(tmp_path / "data").with_root()
    yield site
    site.close()


def test_a_child_that_cannot_be_started_is_tried_again() -> None:
    tries: list[float] = []

    def spawn() -> subprocess.Popen[bytes]:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise BlockingIOError(11, "no more processes")
        return process(SLEEP, "60")

    child = Child("sleeper", spawn, stop_s=STOP_S)
    child.start()
    pid = eventually(lambda: child.pid, bool)
    child.stop()

    assert len(tries) == 2
    assert not is_there(pid)


def test_children_that_do_not_stop_are_killed_when_the_time_of_one_is_over() -> None:
    children = [Child(f"deaf-{number}", lambda: process(*DEAF), stop_s=STOP_S) for number in range(4)]
    for child in children:
        child.start()
    pids = [sleeping(child) for child in children]

    began = time.monotonic()
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.stop()
    took_s = time.monotonic() - began

    assert STOP_S <= took_s < 2 * STOP_S
    assert [pid for pid in pids if is_there(pid)] == []


def test_a_child_that_is_asked_to_stop_while_it_is_started_does_not_live_on() -> None:
    goes_on, made = threading.Event(), list[subprocess.Popen[bytes]]()

    def spawn() -> subprocess.Popen[bytes]:
        goes_on.wait(5)
        made.append(process(SLEEP, "60"))
        return made[0]

    child = Child("slow", spawn, stop_s=5)
    child.start()
    eventually(lambda: child.starts, bool)
    child.ask_to_stop()
    goes_on.set()
    (born,) = eventually(lambda: made, bool)

    eventually(lambda: is_there(born.pid), lambda alive: not alive, within_s=2)
    child.stop()
    assert child.starts == 1


def test_signals_that_come_while_the_event_is_looked_at_are_heard() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOLD_WHILE_IT_LOOKS], capture_output=True, text=True, check=False, timeout=30
    )

    assert (done.returncode, done.stdout) == (0, "True\n")


def test_jobs_that_ask_for_the_lead_at_once_have_one_lead_and_give_it_away_whole(tmp_path: Path) -> None:
    services = start_services(Environment(data_dir=tmp_path / "data", ledger_durability="process"))
    with ThreadPoolExecutor(4) as at_once:
        for _ in range(20):
            jobs = Jobs(services)
            jobs.start()
            answers = [asked.result() for asked in [at_once.submit(getattr, jobs, "leads") for _ in range(4)]]
            jobs.stop()
            lead = services.books.store.lead("leader")

            assert answers == [True] * 4
            assert lead is not None
            lead.close()
    stop_services(services)


class Forgetful:
    """A vault on a database that is away when it is asked for the first time."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.asked = 0

    def text(self, ref: str) -> str:
        self.asked += 1
        if self.asked == 1:
            raise LedgerUnavailable("away")
        return self._vault.text(ref)


def test_a_directory_that_lost_the_database_in_the_middle_knows_every_credential_after_it(house: House) -> None:
    channel = house.channel()
    directory = Directory(house.books.store, cast(Vault, Forgetful(house.books.vault)))

    with pytest.raises(LedgerUnavailable):
        directory.catch_up()
    directory.catch_up()

    served = directory.served_by(channel["id"], MODEL)
    assert served is not None
    assert served.secret == "sk-upstream-secret"
    assert [one.secret for tier in directory.routes("default", MODEL) for one in tier] == ["sk-upstream-secret"]


def test_a_directory_that_cannot_read_what_the_read_model_kept_reads_the_log(house: House) -> None:
    person, channel = house.user(), house.channel()
    house.root.get("/api/user/")  # folded
    with sqlite3.connect(house.books.folder / "read.db") as connection:
        connection.execute("UPDATE entities_v1 SET state = '{' WHERE kind = 'channel'")
    connection.close()

    directory = Directory(house.books.store, house.books.vault)
    directory.start(house.books.read.entities)
    directory.stop()

    assert directory.user(person.id) is not None
    assert directory.served_by(channel["id"], MODEL) is not None
    assert directory.models("default") == (MODEL,)


@pytest.mark.parametrize("url", ["localhost:6379", "http://cache", "redis://cache:many", "nonsense", "redis://cache:0"])
def test_what_is_no_address_of_a_redis_stops_the_start_with_its_name(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis_conn_string[\s\S]*expected redis://"):
        Environment(redis_conn_string=url)


@pytest.mark.parametrize("url", ["", "redis://cache", "rediss://:secret@cache:6380/2", "unix:///run/redis.sock"])
def test_an_address_of_a_redis_is_taken_as_it_is(url: str) -> None:
    assert Environment(redis_conn_string=url).redis_conn_string == url


def sleeping(child: Child) -> int:
    """The pid of a child that has come so far that it hears no SIGTERM."""

    def is_deaf(pid: int) -> bool:
        return pid > 0 and b"\0" in Path(f"/proc/{pid}/cmdline").read_bytes().rpartition(b"sleep")[2]

    return eventually(lambda: child.pid, is_deaf)
