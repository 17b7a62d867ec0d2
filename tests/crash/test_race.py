"""The race law: however many processes want it at once, quota is held once, and a charge ends once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TypedDict

from domain.events import ChargeExpired, ChargeSettled, ChargeSettledLate
from ledger.sqlite import SqliteStore
from ledger.verify import verify
from tests.crash.racer import HELD_MILLS
from tests.laws import calls
from tests.laws.seeds import chance

ROOT = Path(__file__).resolve().parent.parent.parent
PROCESSES = 4
WORTH = 200
"""Holds that the balance is enough for."""


class Told(TypedDict):
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float


def test_a_balance_for_two_hundred_holds_gives_two_hundred_to_two_thousand_attempts(tmp_path: Path) -> None:
    prepare(tmp_path, WORTH * HELD_MILLS + HELD_MILLS - 1)

    told = race(tmp_path, "hold", [10_000 * n for n in range(PROCESSES)], 10 * WORTH // PROCESSES)

    assert total(told) == {"created": WORTH, "insufficient": 9 * WORTH}
    with closing(SqliteStore(tmp_path)) as store:
        assert balances(store) == (HELD_MILLS - 1, WORTH * HELD_MILLS)
        assert len(store.open_holds()) == WORTH
        assert verify(store).is_sound


def test_the_same_calls_held_by_every_process_are_held_once(tmp_path: Path) -> None:
    prepare(tmp_path, 10**9)

    told = race(tmp_path, "hold", [0] * PROCESSES, 300)

    assert total(told) == {"created": 300, "exists": 300 * (PROCESSES - 1)}
    with closing(SqliteStore(tmp_path)) as store:
        assert balances(store) == (10**9 - 300 * HELD_MILLS, 300 * HELD_MILLS)


def test_a_charge_that_processes_settle_and_expire_at_once_ends_once_and_is_paid_once(tmp_path: Path) -> None:
    prepare(tmp_path, 10**9, holds=300)

    told = race(tmp_path, "end", [0] * PROCESSES, 300)

    with closing(SqliteStore(tmp_path)) as store:
        facts = [recorded.fact for n in range(300) for recorded in store.read_stream(calls.charge(n))[1:]]
        ended = Counter(type(fact) for fact in facts)
        assert ended[ChargeSettled] + ended[ChargeExpired] == 300
        assert ended[ChargeSettledLate] == ended[ChargeExpired]
        assert balances(store) == (10**9 - 300 * (HELD_MILLS // 2), 0)
        assert verify(store).is_sound
    assert total(told)["created"] == len(facts)
    assert set(total(told)) == {"created", "exists", "already_settled"}


def race(folder: Path, mode: str, firsts: list[int], count: int) -> list[Told]:
    """What each process was answered; all of them start at the same moment."""
    pipe, draw = subprocess.PIPE, chance("race", mode)
    command = [sys.executable, "-m", "tests.crash.racer", str(folder), mode]
    processes = [
        subprocess.Popen(
            [*command, str(first), str(count), f"{draw.random()}"], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
        )
        for first in firsts
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told: list[Told] = [json.loads(process.communicate(timeout=90)[0]) for process in processes]
    for number, one in enumerate(told):
        print(f"process {number}: {one['statuses']}, p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.1f} ms")  # noqa: T201
    return told


def prepare(folder: Path, mills: int, holds: int = 0) -> None:
    with closing(SqliteStore(folder)) as store:
        store.commit([calls.customer(grant=mills), calls.key_of(1)])
        store.commit([calls.hold(HELD_MILLS, calls.charge(n)) for n in range(holds)])


def total(told: list[Told]) -> Counter[str]:
    return sum((Counter(one["statuses"]) for one in told), Counter[str]())


def balances(store: SqliteStore) -> tuple[int, int]:
    """(available, held) of the one customer."""
    guards = [store.balance(account) for account in ("user:1:available", "user:1:held")]
    return guards[0].balance if guards[0] else 0, guards[1].balance if guards[1] else 0
