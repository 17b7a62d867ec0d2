"""Hints make things faster and nothing depends on them: what one process changes, another knows within the stated bound without any."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import NamedTuple

import msgspec
import pytest

from domain import events, streams
from domain.commands import Append, Part
from ledger.postgres_wakeups import Wakeups
from ledger.vault import open_vault
from tests.chaos.following import OPTION, THE_END
from tests.chaos.knobs import SLACK_S, cases, seconds
from tests.crash.forks import Forks
from tests.crash.where import Kind, Store, Where, ground
from tests.harness.mortal import MortalServer
from tests.laws.seeds import chance

SECONDS = seconds(1.2, 60)
PATIENCE_S = 60.0
KILLED_EVERY_S = seconds(0.3, 2)
BOUND_S: dict[Kind, float] = {"sqlite": 0.25, "postgres": 1.0}


class Case(NamedTuple):
    kind: Kind
    hints: str
    """`hinted`: by NOTIFY; `unhinted`: nobody listens and nobody is told; `killed`: those who listen are, again and again."""


CASES = [
    Case("sqlite", "unhinted"),
    Case("postgres", "hinted"),
    Case("postgres", "unhinted"),
    Case("postgres", "killed"),
]


@pytest.mark.parametrize("case", cases(CASES, [CASES[0], *CASES[2:]]), ids="-".join)
def test_a_change_is_known_to_another_process_within_the_bound_whatever_becomes_of_the_hints(
    case: Case, forks: Forks, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    draw = chance("lost hints", case)
    with ground(case.kind, tmp_path) as place:
        took_s = followed(case, place.ledger("followed"), forks, draw, place.server)

    record_property(
        "told",
        f"directory of another process, {case.kind}, {case.hints}: {len(took_s)} changes, known after "
        f"{1000 * sorted(took_s)[len(took_s) // 2]:.0f} ms (median), {1000 * max(took_s):.0f} ms (longest)",
    )
    assert len(took_s) > 3
    assert sorted(took_s)[len(took_s) // 2] < BOUND_S[case.kind]
    assert max(took_s) < BOUND_S[case.kind] + SLACK_S


def followed(case: Case, where: Where, forks: Forks, draw: Random, server: MortalServer | None) -> list[float]:
    """How long the other process took to know each change."""
    with closing(where.open()) as store:
        open_vault(store, where.folder)
        hinted = "unhinted" if case.hints == "unhinted" else "hinted"
        process = forks.start("tests.chaos.following", where.told(), f"{SECONDS + PATIENCE_S}", hinted)
        assert process.out.readline() == b"following\n", forks.errors()
        with telling(where, hinted) as committed, killing(server if case.hints == "killed" else None):
            made = changes(store, committed, draw)
        known = msgspec.json.decode(process.out.read(), type=dict[str, float])
        process.close()
    # Two changes that are folded together are known at once: then the first is known with the second.
    at_last = {value: min(known[later] for later in list(made)[n:] if later in known) for n, value in enumerate(made)}
    return [at_last[value] - at for value, at in made.items()]


def changes(store: Store, committed: Callable[[], None], draw: Random) -> dict[str, float]:
    """The values that were set, and when."""
    made: dict[str, float] = {}
    ends_at = monotonic() + SECONDS
    while monotonic() < ends_at:
        sleep(draw.uniform(0.0, 0.3))
        value = f"value {len(made)}"
        change(store, value, committed)
        made[value] = monotonic()
    change(store, THE_END, committed)
    made[THE_END] = monotonic()
    return made


def change(store: Store, value: str, committed: Callable[[], None]) -> None:
    fact = events.SettingChanged(key=OPTION, value=value, secret="", actor=1)
    assert store.commit([Append(parts=(Part(streams.setting(OPTION), None, (fact,)),))])[0].ok
    committed()


@contextmanager
def telling(where: Where, hinted: str) -> Generator[Callable[[], None]]:
    """What this process says to the others after a commit."""
    if hinted == "unhinted":
        yield lambda: None
        return
    wakeups = Wakeups(where.dsn, lambda: None, schema=where.schema)
    wakeups.start()
    try:
        yield wakeups.committed
    finally:
        wakeups.stop()


@contextmanager
def killing(server: MortalServer | None) -> Generator[None]:
    """All sessions that listen or say that something was committed are ended, again and again."""
    over = threading.Event()

    def kill(server: MortalServer) -> None:
        while not over.wait(KILLED_EVERY_S):
            server.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^(LISTEN|NOTIFY|SELECT 1$)'"
            )

    thread = threading.Thread(target=kill, args=(server,))
    if server is not None:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if server is not None:
            thread.join()
