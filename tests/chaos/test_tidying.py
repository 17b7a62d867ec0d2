"""A server is tidied, indexed and copied under load, and no writer waits for that: no lock of it is in a commit's way."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import psycopg

from ledger.verify import verify
from tests.chaos import writing
from tests.chaos.knobs import FULL, SLACK_S, seconds
from tests.chaos.writers import Writers
from tests.chaos.writing import Told
from tests.crash.forks import Forks
from tests.crash.where import Where, ground
from tests.harness.mortal import MortalServer
from tests.harness.postgres import owner, run
from tests.laws import calls

CONTROL_S = seconds(0.7, 10)
TIMES = 3 if FULL else 1
FACTS = 100_000 if FULL else 2_000
TIDYING = (
    "VACUUM stored_events",
    "VACUUM ANALYZE balances",
    "VACUUM (FREEZE) holds",
    "ANALYZE",
    "CREATE INDEX CONCURRENTLY by_topic ON stored_events (topic)",
    "REINDEX INDEX CONCURRENTLY by_topic",
    "DROP INDEX CONCURRENTLY by_topic",
)
AT_MOST_S = 300.0
BASE_BACKUP = "pg_basebackup"
LOOKED_EVERY_S = 0.005
PROMISED_S = 0.2


class Span(NamedTuple):
    """When something was done, by the monotonic clock."""

    what: str
    began: float
    ended: float


def test_no_writer_waits_for_vacuum_analyze_an_index_or_a_base_backup(
    forks: Forks, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with ground("postgres", tmp_path) as place:
        assert place.server is not None
        where = place.ledger("tidied")
        writing.prepare(where)
        grown(where)
        writers = Writers(forks, [where] * 2, AT_MOST_S, pause_s=0.005)
        with looking_for_the_blocked(place.server) as blocked:
            spans = [rested(), *(tidied(place.server, where, what) for what in (*TIDYING, BASE_BACKUP) * TIMES)]
        writers.stop()
        told = writers.told()
        with closing(where.open()) as store:
            is_sound = verify(store).is_sound

    longest_ms = [longest(told, span) for span in spans]
    for span, commit_ms in zip(spans, longest_ms, strict=True):
        took_ms = 1000 * (span.ended - span.began)
        record_property("told", f"{span.what}: {took_ms:.0f} ms, the longest commit meanwhile {commit_ms:.0f} ms")
    record_property("told", f"blocked by it: {len(blocked)} commits, {sum(one.commands for one in told)} in all")
    assert max(blocked.values(), default=0.0) < PROMISED_S
    assert max(longest_ms) < longest_ms[0] + 1000 * (PROMISED_S + SLACK_S)
    assert is_sound


def grown(where: Where) -> None:
    """So that there is something to tidy up."""
    with closing(where.open()) as store:
        for first in range(0, FACTS, 200):
            store.commit([calls.hold(1, calls.charge(first + n)) for n in range(200)])


def rested() -> Span:
    """The same load with nothing beside it."""
    began = monotonic()
    sleep(CONTROL_S)
    return Span("nothing", began, monotonic())


def tidied(server: MortalServer, where: Where, what: str) -> Span:
    began = monotonic()
    if what == BASE_BACKUP:
        with tempfile.TemporaryDirectory(prefix="backup-") as folder:
            if os.geteuid() == 0:
                os.chown(folder, owner().pw_uid, owner().pw_gid)
            run(BASE_BACKUP, "-D", f"{folder}/data", "--checkpoint=fast", "--no-sync", "-d", server.dsn())
    else:
        with psycopg.connect(server.dsn(), autocommit=True, options=f"-c search_path={where.schema}") as connection:
            connection.execute(what.encode())
    return Span(what, began, monotonic())


def longest(told: list[Told], span: Span) -> float:
    """The longest command in ms that was answered within a span, or in the tenth of a second around it."""
    tenths = range(int(10 * span.began), int(10 * span.ended) + 2)
    return max(one.windows.get(tenth, 0.0) for one in told for tenth in tenths)


@contextmanager
def looking_for_the_blocked(server: MortalServer) -> Generator[Mapping[int, float]]:
    """For how many seconds each session of ours was seen to wait for a lock of somebody who is none of ours."""
    seen: dict[int, float] = {}
    over = threading.Event()

    def look() -> None:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            while not over.wait(LOOKED_EVERY_S):
                for (pid,) in connection.execute(BLOCKED_SQL):
                    seen[pid] = seen.get(pid, 0.0) + LOOKED_EVERY_S

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


BLOCKED_SQL = """
    SELECT a.pid FROM pg_stat_activity a
    WHERE a.application_name LIKE 'veloera%' AND a.wait_event_type = 'Lock' AND EXISTS (
        SELECT 1 FROM unnest(pg_blocking_pids(a.pid)) AS blocker (pid)
        JOIN pg_stat_activity b ON b.pid = blocker.pid WHERE b.application_name NOT LIKE 'veloera%')"""
