"""A process on a machine whose clock is wrong: `main(WHERE)`. It reaps holds and redeems codes, and says what it was answered."""

from __future__ import annotations

import sys
from time import time_ns

import msgspec

from domain.commands import Command
from ledger.epochs import Epoch, end_dead_holds
from ledger.writer import Writer
from tests.crash.where import where
from tests.laws import calls

RUNS, OVER = calls.charge(1), calls.charge(2)
HALF_AN_HOUR_S = 1800


class Seen(msgspec.Struct, frozen=True):
    """What the ledger told it."""

    here_ms: int
    """What it believes the time is."""
    reaped: int
    open: list[str]
    """Charges that are held after that."""
    codes: list[str]
    """Statuses of redeeming a code that was over half an hour ago, one that is valid now, and one that will be in half an hour."""


def prepare(now_ms: int) -> list[Command]:
    """A customer with two holds, of a process that lives, of which one is over; and three codes."""
    now_s = now_ms // 1000
    dates = ((0, now_s - HALF_AN_HOUR_S), (now_s - HALF_AN_HOUR_S, now_s + HALF_AN_HOUR_S), (now_s + HALF_AN_HOUR_S, 0))
    codes = [
        calls.code(5, text=f"code {n}", valid_from=since, valid_until=until) for n, (since, until) in enumerate(dates)
    ]
    return [calls.customer(grant=100), *codes]


def main(told: str) -> None:
    place = where(told)
    store = place.open()
    writer, epoch = Writer(store), Epoch(place.folder, "skewed", alone=False)
    reaped = end_dead_holds(store, writer, epoch)
    seen = Seen(
        here_ms=time_ns() // 1_000_000,
        reaped=reaped,
        open=[hold.charge for hold in store.open_holds()],
        codes=[writer.submit_blocking(calls.redeem(code)).status for code in (1, 2, 3)],
    )
    writer.close()
    epoch.close()
    store.close()
    sys.stdout.write(msgspec.json.encode(seen).decode())
