"""A process that writes one ledger with others and says how long its commands took: `main(WHERE, JSON of a Plan)`.

It begins at SIGUSR1, when it has said that it is ready, and ends when its time is over, or at SIGTERM.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import Iterator
from time import monotonic
from uuid import uuid4

import msgspec

from domain.books import Result
from domain.commands import Command
from ledger.errors import LedgerUnavailable
from ledger.writer import Writer
from tests.crash.where import Where, where
from tests.laws import calls

AGAIN_AFTER_S = 0.02


class Plan(msgspec.Struct, frozen=True):
    """What a process is to do."""

    seconds: float
    clients: int = 16
    pause_s: float = 0.0
    """Between two commands of one client; 0: the ledger is saturated."""
    tells: bool = False
    """Whether it lists what was acknowledged."""


class Told(msgspec.Struct, frozen=True):
    """What one process saw. A command's time is from the question to the answer, tries while the ledger was away included."""

    commands: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    gap_s: float
    """The longest time without an acknowledgement."""
    unavailable: int
    """Answers that the ledger is away."""
    windows: dict[int, float]
    """Longest command in ms, by the tenth of a second in which it was answered: of the monotonic clock, which all processes share."""
    acknowledged: list[str]
    """`held CHARGE MILLS` and `settled CHARGE COST PAID`, where they were asked for."""


class Clients:
    """Holds and settles, over and over, and how long each took."""

    def __init__(self, writer: Writer, plan: Plan) -> None:
        self._writer = writer
        self._plan = plan
        self._last = monotonic()
        self.ends_at = self._last + plan.seconds
        self.took_ms: list[float] = []
        self.gap_s = 0.0
        self.unavailable = 0
        self.windows: dict[int, float] = {}
        self.acknowledged: list[str] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._plan.clients):
                group.create_task(self._client(number))
        self.gap_s = max(self.gap_s, self.ends_at - self._last)

    def stop(self, *_: object) -> None:
        """Ask nothing more."""
        self.ends_at = min(self.ends_at, monotonic())

    async def _client(self, number: int) -> None:
        await asyncio.sleep(self._plan.pause_s * number / self._plan.clients)
        for charge in charges():
            for command, line in (
                (calls.hold(2, charge), f"held {charge} 2"),
                (calls.settle(1, charge), f"settled {charge} 1 1"),
            ):
                if monotonic() > self.ends_at:
                    return
                result = await self._ask(command)
                assert result.ok, result
                if self._plan.tells:
                    self.acknowledged.append(line)
                await asyncio.sleep(self._plan.pause_s)

    async def _ask(self, command: Command) -> Result:
        asked = monotonic()
        while True:
            try:
                result = await self._writer.submit(command)
            except LedgerUnavailable:
                self.unavailable += 1
                await asyncio.sleep(AGAIN_AFTER_S)
                continue
            answered = monotonic()
            took_ms, window = 1_000 * (answered - asked), int(10 * answered)
            self.took_ms.append(took_ms)
            self.windows[window] = max(self.windows.get(window, 0.0), took_ms)
            self.gap_s = max(self.gap_s, answered - self._last)
            self._last = answered
            return result


def charges() -> Iterator[str]:
    return (uuid4().hex for _ in itertools.count())


def prepare(place: Where) -> None:
    """One customer who can pay for everything."""
    store = place.open()
    store.commit([calls.customer(grant=10**12), calls.key_of(1)])
    store.close()


def main(told: str, asked: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # before there are threads that would take it
    plan = msgspec.json.decode(asked, type=Plan)
    store = where(told).open()
    writer = Writer(store)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGUSR1})
    clients = Clients(writer, plan)
    signal.signal(signal.SIGTERM, clients.stop)
    asyncio.run(clients.run())
    writer.close()
    store.close()
    took_ms = sorted(clients.took_ms) or [0.0]
    seen = Told(
        commands=len(clients.took_ms),
        p50_ms=took_ms[len(took_ms) // 2],
        p99_ms=took_ms[len(took_ms) * 99 // 100],
        longest_ms=took_ms[-1],
        gap_s=clients.gap_s,
        unavailable=clients.unavailable,
        windows=clients.windows,
        acknowledged=clients.acknowledged,
    )
    sys.stdout.write(msgspec.json.encode(seen).decode())
