"""Of the servers that a connection string names, the one that took over last is used."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import pytest

import ledger.postgres_hosts
from ledger.postgres_hosts import Hosts, hosts_of


class World:
    """Servers by port, with their timelines; 0 for a standby."""

    def __init__(self, **timelines: int) -> None:
        self.timelines = timelines
        self.asked: list[str] = []
        self.open: list[Seat] = []

    def connect(self, host: Mapping[str, str]) -> Seat:
        port = host["port"]
        self.asked.append(port)
        timeline = self.timelines[f"p{port}"]
        if timeline == 0:
            raise psycopg.OperationalError("session is read-only")
        self.open.append(Seat(self, port, timeline))
        return self.open[-1]


class Seat:
    """A session."""

    def __init__(self, world: World, port: str, timeline: int) -> None:
        self.port = port
        self.timeline = timeline
        self._world = world

    def close(self) -> None:
        self._world.open.remove(self)


def chosen(hosts: Hosts, world: World) -> str:
    return hosts.open(world.connect, lambda seat: seat.timeline).port


def hosts(*ports: str) -> Hosts:
    each = tuple((("host", "db"), ("port", port)) for port in ports)
    return Hosts(each)


def test_the_later_timeline_is_used_whoever_is_named_first_and_the_other_sessions_are_closed() -> None:
    world = World(p1=1, p2=2, p3=1)

    assert chosen(hosts("1", "2", "3"), world) == "2"
    assert [seat.port for seat in world.open] == ["2"]


def test_a_standby_is_passed_over() -> None:
    assert chosen(hosts("1", "2"), World(p1=0, p2=1)) == "2"


def test_whoever_has_seen_a_later_server_goes_back_to_none_that_it_replaced() -> None:
    world, known = World(p1=1, p2=2), hosts("1", "2")
    chosen(known, world)
    later = World(p1=1, p2=0)

    with pytest.raises(psycopg.OperationalError, match="a later server has taken the place"):
        chosen(known, later)

    assert later.open == []


def test_when_none_answers_it_is_said_why() -> None:
    with pytest.raises(psycopg.OperationalError, match="read-only"):
        chosen(hosts("1", "2"), World(p1=0, p2=0))


def test_a_host_that_kept_us_waiting_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([*range(0, 100, 2)])
    monkeypatch.setattr(ledger.postgres_hosts, "monotonic", lambda: next(moments))  # every look is two seconds later
    world, known = World(p1=0, p2=1), hosts("1", "2")

    first, second = chosen(known, world), chosen(known, world)

    assert (first, second) == ("2", "2")
    assert world.asked == ["1", "2", "2"]


@pytest.mark.parametrize(
    ("given", "each"),
    [
        ({"host": "a,b", "port": "1,2"}, [{"host": "a", "port": "1"}, {"host": "b", "port": "2"}]),
        ({"host": "a,b", "port": "5432"}, [{"host": "a", "port": "5432"}, {"host": "b", "port": "5432"}]),
        ({"hostaddr": "10.0.0.1,10.0.0.2"}, [{"hostaddr": "10.0.0.1"}, {"hostaddr": "10.0.0.2"}]),
        ({"dbname": "x"}, [{}]),
    ],
)
def test_lists_are_read_as_libpq_reads_them(given: dict[str, object], each: list[dict[str, str]]) -> None:
    asked: list[dict[str, str]] = []

    def connect(host: Mapping[str, str]) -> Seat:
        asked.append(dict(host))
        raise psycopg.OperationalError("nobody is there")

    with pytest.raises(psycopg.OperationalError):
        hosts_of(given).open(connect, lambda seat: seat.timeline)

    assert asked == each
