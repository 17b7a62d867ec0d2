"""Holds of a process that died are ended when the next one starts; holds of one that lives are left alone."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from domain.events import ChargeExpired
from ledger.epochs import Epoch, end_dead_holds
from ledger.verify import verify
from ledger.writer import Writer
from tests.laws import calls
from tests.ledger.places import Place, Store

ROOT = Path(__file__).resolve().parent.parent.parent
HOLDS = """
import sys
from pathlib import Path
from ledger.epochs import Epoch
from tests.laws import calls
from tests.ledger.places import opened
folder, first = Path(sys.argv[1]), int(sys.argv[2])
store = opened(sys.argv[3])
epoch = Epoch(folder, "holder")
for n in range(first, first + 3):
    store.commit([calls.hold(10, calls.charge(n), epoch=epoch.name)])
store.commit([calls.extend(1, 5, calls.charge(first)), calls.extend(2, 5, calls.charge(first))])
print(epoch.name, flush=True)
sys.stdin.readline()
epoch.close()
"""


class House(NamedTuple):
    """A ledger, and the folder of the machine whose processes hold in it."""

    place: Place
    folder: Path

    def epoch(self, node: str) -> Epoch:
        return Epoch(self.folder, node)


@pytest.fixture
def house(place: Place, tmp_path: Path) -> House:
    return House(place, tmp_path)


def test_holds_of_a_killed_process_end_and_those_of_a_living_one_stay(
    store: Store, writer: Writer, house: House
) -> None:
    store.commit([calls.customer(grant=1_000)])
    with holder(house, 100) as dead:
        dead.kill()
        dead.wait(10)
    with holder(house, 200):
        ended = end_dead_holds(store, writer, house.epoch("starter"))

        assert ended == 3
        assert [hold.charge for hold in store.open_holds()] == [calls.charge(n) for n in (200, 201, 202)]
    assert balance(store, "user:1:held") == 40
    assert balance(store, "user:1:available") == 960
    assert verify(store).is_sound


def test_the_fact_says_who_ended_it_and_why_and_gives_back_what_extensions_held(
    store: Store, writer: Writer, house: House
) -> None:
    store.commit([calls.customer(grant=1_000)])
    with holder(house, 100) as dead:
        dead.kill()

    end_dead_holds(store, writer, house.epoch("starter"))

    last = store.read_stream(calls.charge(100))[-1].fact
    assert isinstance(last, ChargeExpired)
    assert (last.held, last.node, last.why) == (20, "starter", "dead_epoch")


def test_more_holds_than_one_page_are_all_ended(store: Store, writer: Writer, house: House) -> None:
    store.commit([calls.customer(grant=10_000)])
    store.commit([calls.hold(1, calls.charge(n), epoch="gone") for n in range(1_050)])

    ended = end_dead_holds(store, writer, house.epoch("starter"))

    assert ended == 1_050
    assert store.open_holds() == []


def test_a_hold_past_its_deadline_ends_though_its_process_lives(store: Store, writer: Writer, house: House) -> None:
    epoch = house.epoch("itself")
    late, early = (
        calls.hold(1, calls.charge(1), epoch=epoch.name, ttl_ms=-1),
        calls.hold(1, calls.charge(2), epoch=epoch.name),
    )
    store.commit([calls.customer(grant=10), late, early])

    ended = end_dead_holds(store, writer, epoch)

    assert ended == 1
    assert [hold.charge for hold in store.open_holds()] == [calls.charge(2)]


def test_two_processes_that_start_at_once_end_every_hold_once(store: Store, writer: Writer, house: House) -> None:
    store.commit([calls.customer(grant=1_000)])
    store.commit([calls.hold(1, calls.charge(n), epoch="gone") for n in range(50)])
    other_store = house.place.open()
    other = Writer(other_store)
    first, second = house.epoch("first"), house.epoch("second")

    ended = [end_dead_holds(store, writer, first), end_dead_holds(other_store, other, second)]

    assert sum(ended) == 50
    assert balance(store, "user:1:available") == 1_000
    other.close()
    other_store.close()


def test_an_epoch_lives_until_it_is_closed_and_leaves_no_file(tmp_path: Path) -> None:
    first, second = Epoch(tmp_path, "a"), Epoch(tmp_path, "b")
    assert second.is_alive(first.name)

    first.close()

    assert not second.is_alive(first.name)
    assert [path.name for path in (tmp_path / "epochs").iterdir()] == [second.name]


def test_a_process_that_looks_while_another_starts_does_not_take_it_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the starting one is about to lock its file, the other one cleans up."""
    looking = Epoch(tmp_path, "looking")
    flock = fcntl.flock

    def flock_after_a_look(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            monkeypatch.setattr(fcntl, "flock", flock)
            looking.forget_the_dead()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_a_look)
    starting = Epoch(tmp_path, "starting")
    monkeypatch.setattr(fcntl, "flock", flock)

    assert looking.is_alive(starting.name)
    looking.forget_the_dead()
    assert looking.is_alive(starting.name)


def test_two_that_look_at_once_do_not_take_each_other_for_the_living(tmp_path: Path) -> None:
    (tmp_path / "epochs").mkdir()
    (tmp_path / "epochs" / "dead").touch()
    first, second = Epoch(tmp_path, "first"), Epoch(tmp_path, "second")

    with (tmp_path / "epochs" / "dead").open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)

        assert not first.is_alive("dead")
        assert not second.is_alive("dead")


@contextmanager
def holder(house: House, first: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has three holds open, the first of them extended twice, and lives until the end of the block."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDS, str(house.folder), str(first), house.place.told()]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip(), "the holder did not come up"
        try:
            yield process
        finally:
            process.kill()


def balance(store: Store, account: str) -> int:
    guard = store.balance(account)
    return guard.balance if guard else 0
