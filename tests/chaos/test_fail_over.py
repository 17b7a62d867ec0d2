"""A standby takes the place of a primary that dies: the same processes go on with it, what was acknowledged is there, and the old one
is left alone when it comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import sleep

import pytest

from ledger.errors import SealRefused
from ledger.postgres import PostgresStore
from ledger.sealer import seal_here
from ledger.verify import verify
from projections.postgres_connections import connect
from tests.chaos import writing
from tests.chaos.knobs import seconds
from tests.chaos.writers import Writers
from tests.crash.forks import Forks
from tests.crash.rounds import check
from tests.crash.where import Where
from tests.harness.failover import Pair
from tests.harness.postgres import Server
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.ledger.places import QUICK

Tell = Callable[[str, object], None]
LOADED_S = seconds(0.5, 5)
AT_MOST_S = 120.0
PAUSE_AT_MOST_S = 10.0


def test_nothing_acknowledged_is_lost_the_same_processes_go_on_and_an_old_primary_that_comes_back_is_not_written_to(
    forks: Forks, tmp_path: Path, record_property: Tell
) -> None:
    with Pair() as pair:
        place = Where(tmp_path / "data", pair.dsn)
        writing.prepare(place)
        writers = Writers(forks, [place] * 2, AT_MOST_S, pause_s=0.01, tells=True)
        sleep(LOADED_S)

        folded_before = ports_for_folding(pair)
        pair.fail_over()
        sleep(LOADED_S)
        pair.primary.start()
        before = facts(pair.primary)
        cut_off(pair.standby)
        sleep(LOADED_S)
        writers.stop()
        told = writers.told()

        found = check(forks, place, [f"{line}\n" for one in told for line in one.acknowledged])
        pause_s, away = max(one.gap_s for one in told), sum(one.unavailable for one in told)
        record_property(
            "told",
            f"fail-over: {found.checked} acknowledged, {found.lost} lost, longest pause {pause_s:.2f} s, away {away} times",
        )
        assert found.problems == []
        assert pause_s < PAUSE_AT_MOST_S
        assert facts(pair.primary) == before
        assert facts(pair.standby) > before
        assert head_found_by_a_new_process(forks, pair, tmp_path) == head(pair.standby)
        assert (folded_before, ports_for_folding(pair)) == ({pair.primary.port}, {pair.standby.port})


def test_what_an_asynchronous_standby_did_not_have_is_lost_and_that_is_noticed(
    tmp_path: Path, record_property: Tell
) -> None:
    with Pair(synchronous=False) as pair, closing(PostgresStore(pair.dsn, limits=QUICK)) as store:
        store.commit([calls.customer(grant=100)])
        store.commit([calls.hold(1, calls.charge(n)) for n in range(1, 4)])
        sealed = seal_here(store, tmp_path, "", 1)
        eventually(lambda: facts(pair.standby), lambda count: count == facts(pair.primary), within_s=10)
        pair.standby.hear_nothing()
        late = store.commit([calls.hold(1, calls.charge(n)) for n in range(4, 7)])
        sealed += seal_here(store, tmp_path, "", 2)

        pair.primary.kill()
        pair.standby.lose_what_was_not_heard()
        pair.promote()
        answers = [store.commit([calls.settle(1, calls.charge(n))])[0].status for n in range(1, 7)]

        lost = answers.count("not_found")
        record_property(
            "told", f"fail-over to an asynchronous standby: {lost} of {len(late)} late holds lost, and noticed"
        )
        assert all(result.ok for result in late)
        assert answers == ["created"] * 3 + ["not_found"] * 3
        assert verify(store).is_sound
        assert len(sealed) == 2
        with pytest.raises(SealRefused, match="is not the one that this machine saw"):
            seal_here(store, tmp_path, "", 3)


def ports_for_folding(pair: Pair) -> set[int]:
    """Where read models are, whichever server is named first."""
    found: set[int] = set()
    for dsn in (pair.dsn, pair.standby_first):
        with closing(connect(dsn, "veloera")) as connection:
            found.add(connection.info.port)
    return found


def facts(server: Server) -> int:
    return number(server, "SELECT count(*) FROM veloera.stored_events")


def head(server: Server) -> int:
    return number(server, "SELECT max(id) FROM veloera.stored_events")


def number(server: Server, sql: str) -> int:
    ((found,),) = server.ask(sql)
    assert isinstance(found, int)
    return found


def cut_off(server: Server) -> None:
    """The server ends every session of the ledger: all have to choose again."""
    server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'veloera%'")


def head_found_by_a_new_process(forks: Forks, pair: Pair, folder: Path) -> int:
    """One that has seen neither server before."""
    process = forks.start("tests.chaos.heading", Where(folder / "new", pair.dsn).told())
    try:
        return int(process.out.read())
    finally:
        process.close()
