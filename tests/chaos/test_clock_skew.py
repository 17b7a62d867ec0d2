"""There is one clock, the ledger's: it never goes back along the log, and what a machine believes the time is decides nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from time import time_ns

import msgspec
import pytest

from ledger.epochs import Epoch
from ledger.verify import verify
from tests.chaos import skewed, writers, writing
from tests.chaos.knobs import seconds
from tests.chaos.skewed import OVER, RUNS, Seen
from tests.chaos.writers import Writers
from tests.crash.forks import Forks
from tests.crash.where import KINDS, Ground, Kind, Store, ground, mortal_server
from tests.harness.faults import Faults
from tests.harness.mortal import MortalServer
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.laws.seeds import chance

SECONDS = seconds(1, 20)
HOUR_S = 3600


@pytest.mark.parametrize("kind", KINDS)
def test_the_time_of_facts_never_falls_while_clocks_differ_by_two_hours_and_step_back_and_forth(
    kind: Kind, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """On a server it is the server's clock that steps; on SQLite those of the writing processes do."""
    draw = chance("clocks", kind)
    with stepping_ground(kind, tmp_path) as (ground, faults, forks):
        place = ground.ledger("clocks")
        writing.prepare(place)
        with stepping(faults, draw) as steps:
            told = Writers(forks, [place._replace(skew_ms=skew) for skew in skews(kind)], SECONDS, pause_s=0.005).told()
        with closing(place.open()) as store:
            moments = [recorded.fact.at for recorded in store.read_log(0, 10**6)]
            is_sound = verify(store).is_sound

    record_property(
        "told",
        f"clocks on {kind}: {len(steps)} steps of up to an hour, {len(moments)} facts of {len(told)} processes, "
        f"{sum(later < earlier for earlier, later in pairwise(moments))} times back",
    )
    assert moments == sorted(moments)
    assert moments[-1] - moments[0] > HOUR_S * 1000 / 10
    assert is_sound
    assert len(steps) > 3


@pytest.mark.parametrize("skew_s", [-HOUR_S, HOUR_S])
def test_a_machine_whose_clock_is_wrong_ends_what_is_over_and_nothing_else_and_takes_no_code_before_or_after_its_time(
    skew_s: int, tmp_path: Path
) -> None:
    with Faults() as faults, ground("postgres", tmp_path) as ground_here, ExitStack() as stack:
        with faults.here():
            forks = stack.enter_context(Forks("tests.chaos.skewed"))
        place, server = ground_here.ledger("skewed"), mortal_server()
        with closing(place.open()) as store, closing(Epoch(place.folder, "holder", alone=False)) as epoch:
            store.commit(skewed.prepare(time_ns() // 1_000_000))
            ttls = ((RUNS, 1_000 * HOUR_S // 2), (OVER, 1))
            store.commit([calls.hold(1, charge, epoch=epoch.name, ttl_ms=ttl_ms) for charge, ttl_ms in ttls])
            over_by_the_servers_clock(server, store)

            faults.skew(skew_s)
            process = forks.start("tests.chaos.skewed", place.told())
            said = process.out.read()
            process.close()

    assert said, forks.errors()
    seen = msgspec.json.decode(said, type=Seen)
    assert abs(seen.here_ms - time_ns() // 1_000_000 - 1000 * skew_s) < 120_000
    assert (seen.reaped, seen.open) == (1, [RUNS])
    assert seen.codes == ["over", "created", "not_yet"]


def over_by_the_servers_clock(server: MortalServer, store: Store) -> None:
    (first,) = [hold for hold in store.open_holds() if hold.charge == OVER]
    sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint > %s"
    eventually(lambda: server.ask(sql, first.deadline), lambda rows: rows == [(True,)])


def skews(kind: Kind) -> list[int]:
    """What is wrong with the clock of each process, in ms. On a server nobody asks for them."""
    return [1000 * HOUR_S, 0, -1000 * HOUR_S] if kind == "sqlite" else [0, 0]


@contextmanager
def stepping_ground(kind: Kind, folder: Path) -> Generator[tuple[Ground, Faults, Forks]]:
    """A place where the clock that counts can be put wrong."""
    with Faults() as faults, ExitStack() as stack:
        with faults.here():
            server = stack.enter_context(MortalServer(tcp=True)) if kind == "postgres" else None
            forks = stack.enter_context(Forks(*writers.MODULES))
        yield Ground(folder, server), faults, forks


@contextmanager
def stepping(faults: Faults, draw: Random) -> Generator[list[float]]:
    """Put the clock forward or back by up to an hour, again and again; the steps."""
    steps: list[float] = []
    over = threading.Event()

    def step() -> None:
        while not over.wait(draw.uniform(0.05, 0.2)):
            steps.append(draw.uniform(-HOUR_S, HOUR_S))
            faults.skew(steps[-1])

    thread = threading.Thread(target=step)
    thread.start()
    try:
        yield steps
    finally:
        over.set()
        thread.join()
        faults.heal()
