"""A disk that fails or is slow refuses and loses nothing: nothing acknowledged is missing, nothing grows, and it is over when it heals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from random import Random

import httpx
import msgspec
import pytest

from tests.chaos import writers, writing
from tests.chaos.flooding import Flood
from tests.chaos.knobs import seconds
from tests.chaos.writers import Writers
from tests.crash.forks import Forks
from tests.crash.rounds import MODULES, check
from tests.crash.where import KINDS, Ground, Kind, Where
from tests.harness import wire
from tests.harness.faults import EACH, Faults
from tests.harness.gateway import Gateway
from tests.harness.mortal import MortalServer
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.laws.seeds import chance

Tell = Callable[[str, object], None]
SECONDS = seconds(1.2, 30)
FAILS_EVERY_S = {"sqlite": 0.1, "postgres": seconds(0.5, 3)}
"""A server that cannot flush its log ends all sessions and recovers first."""
FLUSHES_APART = 20
SLOW_S = 0.2
ASKED = 60_000
GROWS_AT_MOST_MB = 64
USAGE = wire.tokens(10, 5)
PRICE_MILLS = 15_000


@pytest.fixture
def failing() -> Iterator[Faults]:
    with Faults(only="ledger.db") as faults:
        yield faults


@contextmanager
def failing_ground(kind: Kind, folder: Path) -> Generator[tuple[Ground, Faults, Forks]]:
    """A place whose log of writes is on a disk that a test can make fail, and processes to write there."""
    with Faults(only="pg_wal" if kind == "postgres" else "ledger.db") as faults, ExitStack() as stack:
        with faults.here() if kind == "sqlite" else nullcontext():
            forks = stack.enter_context(Forks(*MODULES, *writers.MODULES))
        with faults.here():
            server = stack.enter_context(MortalServer(tcp=True, fsync=True)) if kind == "postgres" else None
        yield Ground(folder, server), faults, forks


@pytest.mark.parametrize("kind", KINDS)
def test_a_flush_that_fails_at_any_moment_loses_nothing_that_was_acknowledged(
    kind: Kind, tmp_path: Path, record_property: Tell
) -> None:
    draw = chance("failing disk", kind)
    with failing_ground(kind, tmp_path) as (ground, faults, forks):
        place = ground.ledger("failing")
        writing.prepare(place)
        writing_now = Writers(forks, [place] * 2, SECONDS, pause_s=0.01, tells=True)

        with repeatedly(faults, draw, FAILS_EVERY_S[kind]):
            told = writing_now.told()
        faults.heal()
        failed, flushes = faults.failures, faults.flushes
        found = check(forks, place, [f"{line}\n" for one in told for line in one.acknowledged])

    refused, gap_s = sum(one.unavailable for one in told), max(one.gap_s for one in told)
    record_property(
        "told",
        f"failing disk, {kind}: {failed} of {flushes} flushes failed, {found.checked} acknowledged, {found.lost} lost, "
        f"longest pause {gap_s:.1f} s",
    )
    assert found.problems == []
    assert found.checked > 50
    assert failed > 0
    assert refused > 0 or kind == "postgres"  # which is back before a commit has to be refused


def test_a_slow_disk_refuses_at_once_what_it_cannot_take_and_nothing_grows(
    tmp_path: Path, failing: Faults, record_property: Tell
) -> None:
    place = Where(tmp_path / "data")
    writing.prepare(place)
    with ExitStack() as stack:
        with failing.here():
            forks = stack.enter_context(Forks("tests.chaos.flooding"))
        failing.slow(SLOW_S)
        process = forks.start("tests.chaos.flooding", place.told(), str(ASKED))
        eventually(lambda: failing.flushes, lambda seen: seen > 3, within_s=30)
        failing.slow(0.02)
        said = process.out.read()
        process.close()

    seen = msgspec.json.decode(said, type=Flood)
    record_property(
        "told",
        f"slow disk: {seen.refused} of {seen.asked} refused, at most {seen.most_waiting} wait, {seen.grown_mb:.0f} MB more",
    )
    assert seen.refused > seen.asked / 2
    assert seen.held == seen.asked - seen.refused
    assert seen.most_waiting <= seen.limit
    assert seen.grown_mb < GROWS_AT_MOST_MB


def test_a_gateway_on_a_failing_disk_answers_503_before_anything_goes_upstream_and_serves_again_when_it_heals(
    tmp_path: Path, failing: Faults, upstream: Upstream
) -> None:
    with Gateway(tmp_path / "data", failing.env) as gateway:
        model = gateway.offer(upstream.url(), ratio=1, completion=1)
        upstream.always(wire.chat(usage=USAGE), model=model)
        customer = gateway.customer()

        failing.fail(EACH)
        refused = [customer.chat(model, max_tokens=5).status_code for _ in range(5)]
        carried = len(upstream.calls(model=model))
        failing.heal()
        failing.slow(SLOW_S)
        slow = [customer.chat(model, max_tokens=5).status_code for _ in range(2)]
        failing.heal()
        ready = eventually(lambda: httpx.get(f"{gateway.url}/readyz").status_code, lambda status: status == 200)

        assert (refused, carried) == ([503] * 5, 0)
        assert (slow, ready) == ([200] * 2, 200)
        assert customer.spends(2 * PRICE_MILLS)
        assert gateway.is_proven()


@contextmanager
def repeatedly(faults: Faults, draw: Random, every_s: float) -> Generator[None]:
    """Let a flush fail, some flushes on from a moment, again and again."""
    over = threading.Event()

    def fail() -> None:
        while not over.wait(draw.uniform(0.5, 1.5) * every_s):
            faults.fail(draw.randrange(1, FLUSHES_APART))

    failing = threading.Thread(target=fail)
    failing.start()
    try:
        yield
    finally:
        over.set()
        failing.join()
