"""What is true of a schema on a server alone."""

from __future__ import annotations

import threading

import pytest
from psycopg.conninfo import conninfo_to_dict

from ledger.place import open_store
from projections.places import PostgresPlace, ReadPlace
from projections.postgres_connections import MAX_READERS
from projections.readmodel import ReadModel
from projections.replay import replay
from tests.harness.postgres import shared_server
from tests.projections.folding import running
from tests.projections.house import House, until
from tests.projections.test_replay import busy
from tests.projections.whereabouts import Where, cut_off

pytestmark = pytest.mark.parametrize("where", ["postgres"], indirect=True)


def test_a_folder_whose_session_is_ended_by_the_server_goes_on_with_another(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    key = house.key(ada)
    with running(house):
        until(lambda: read.lag() == 0, "the first fold")
        for _ in range(3):
            assert cut_off(house.where.place) > 0
            house.call(ada, key)
            until(lambda: read.lag() == 0, "the next session to fold")

    assert house.where.digest() == house.digest()


def test_a_ledger_on_a_server_is_folded_beside_it_by_whoever_reads_it(where: Where) -> None:
    server = shared_server()
    database = server.database()
    place = PostgresPlace(server.dsn(database))
    where.folder.mkdir()
    house = House(where.folder, Where("postgres", where.folder, place), open_store(where.folder, dsn_of(place)))
    read = ReadModel(place, house.store, house.vault)
    busy(house)

    found = read.await_head()
    report = replay(place, house.store, house.vault)
    last = {account: read.statement(account, newest_first=True, limit=1) for account, _ in house.store.balances()}

    assert found.is_current
    assert (report.is_same, report.digest) == (True, house.digest())
    for account, guard in house.store.balances():
        assert guard.balance == (last[account][0].balance_mills if last[account] else 0), account
    read.close()
    house.close()
    server.drop(database)


def test_every_machine_asks_the_one_that_folds(house: House) -> None:
    readers = [ReadModel(house.where.place, house.store, house.vault) for _ in range(3)]
    with running(house):
        ada = house.user("ada")
        until(lambda: readers[0].lag() == 0, "the first fold")

        found = [(read.await_head().is_current, read.user(ada)) for read in readers]

    assert [is_current for is_current, _ in found] == [True] * 3
    assert len({row for _, row in found}) == 1
    for read in readers:
        read.close()


def test_more_threads_than_readers_take_turns(house: House, read: ReadModel) -> None:
    house.user("ada")
    read.await_head()
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(read.user(1)), daemon=True) for _ in range(24)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(found) == 24
    assert None not in found
    assert sessions(house.where.place) <= MAX_READERS + 1


def sessions(place: ReadPlace) -> int:
    assert isinstance(place, PostgresPlace)
    asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'veloera read models'"
    ((count,),) = shared_server().ask(asked)
    assert isinstance(count, int)
    return count


def dsn_of(place: PostgresPlace) -> str:
    """As an operator writes it."""
    options = conninfo_to_dict(place.dsn)
    return f"postgresql:///{options['dbname']}?host={options['host']}&port={options['port']}&user={options['user']}"
