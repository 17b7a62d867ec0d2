"""A node: a machine with a clock and a disk, and the process that runs on it until something kills it.

A process that is dead does nothing any more: what its coroutines still ask for is never answered, and nobody hears what they say.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from domain.books import Result
from domain.commands import Command
from ledger.errors import LedgerClosed, LedgerUnavailable, QueueFull
from ledger.spool import Spool, SpooledLedger
from ledger.spool_drain import Drainer
from ledger.spool_files import SpoolFiles
from ledger.store import LedgerReader
from ledger.writer import Writer
from tests.simulator.clocks import Clock, skew_ms
from tests.simulator.directory import Directory
from tests.simulator.link import Link
from tests.simulator.spool import Disk, Files, Keeper, NothingIsRefused

if TYPE_CHECKING:
    from relay.credit import Ledger
    from tests.simulator.world import World

T = TypeVar("T")
ANSWER_WITHIN_MS = 5_000


class Lost(Exception):
    """The connection broke, or no answer came in time: whoever asked does not know what became of it."""


class Node:
    """A machine. `process` is None while nothing runs on it."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"node-{number}"
        self.clock = Clock(world.loop, world.plan.start_ms, off_ms=skew_ms(world.chance, world.plan.embedded))
        self.disk = Disk()
        self.process: Process | None = None
        self._starts = 0

    def start(self) -> Process:
        self._starts += 1
        self.process = Process(self, f"{self.name}-{self._starts}")
        return self.process

    def crash(self) -> None:
        if self.process is None:
            return
        self.process.die()
        self.process = None
        wait_ms = self.world.chance.randint(50, 3_000)
        self.world.loop.call_later(wait_ms / 1000, self.world.restart, self)


class Process:
    """One run of a gateway."""

    def __init__(self, node: Node, epoch: str) -> None:
        self.world = node.world
        self.node = node
        self.epoch = epoch
        self.alive = True
        self.closing = False
        self.directory = Directory(self)
        self.writer = SimulatedWriter(self)
        self.link = Link(self)
        self.ledger: Ledger = self._ledger()
        files, reader = cast(SpoolFiles, Files(node.disk)), cast(LedgerReader, self.world.database)
        self.drainer = Drainer(files, self.link.commit_at_once, reader)
        self.drainer._refused = NothingIsRefused()  # type: ignore[assignment]  # no file is written here
        self.believed_leads: set[str] = set()
        self._replies: dict[asyncio.Future[Any], None] = {}
        self._own: list[asyncio.Task[None]] = []

    def _ledger(self) -> Ledger:
        if self.world.plan.embedded:
            return self.writer
        return SpooledLedger(cast(Writer, self.writer), cast(Spool, Keeper(self)))

    def die(self) -> None:
        """As by `kill -9`: whoever is connected sees the connection break."""
        self.alive = False
        self.world.database.lose_leads(self)
        self.world.dead_epochs.add(self.epoch)
        for task in self._own:
            task.cancel()
        replies, self._replies = self._replies, {}
        for reply in replies:
            if not reply.done():
                reply.set_exception(Lost("the connection broke"))

    def job(self, story: Coroutine[Any, Any, None]) -> None:
        """Something that runs as long as the process does."""
        self._own.append(self.world.task(story))

    def serve(self, story: Coroutine[Any, Any, T]) -> tuple[asyncio.Future[T], asyncio.Task[None]]:
        """Handle a request from outside: (its answer, or Lost; the handler, which may be cancelled)."""
        reply: asyncio.Future[T] = self.world.loop.create_future()
        self._replies[reply] = None

        async def handled() -> None:
            try:
                answer: T | BaseException = await story
            except LedgerUnavailable as error:
                answer = error
            except LedgerClosed as error:
                answer = error
            if not self.alive:
                return
            self._replies.pop(reply, None)
            if reply.done():
                return
            if isinstance(answer, BaseException):
                reply.set_exception(answer)
            else:
                reply.set_result(answer)

        return reply, self.world.task(handled())

    async def ask(self, command: Command) -> Result:
        """Send one command to this process from outside. Raises Lost, LedgerUnavailable."""
        reply = self.writer.submit(command)
        self._replies[reply] = None
        try:
            return await in_time(reply)
        finally:
            self._replies.pop(reply, None)


async def in_time(reply: asyncio.Future[T], within_ms: int = ANSWER_WITHIN_MS) -> T:
    """Raises Lost after some time; what was asked for goes on."""
    timer = reply.get_loop().call_later(within_ms / 1000, _too_late, reply)
    try:
        return await reply
    finally:
        timer.cancel()


def _too_late(reply: asyncio.Future[Any]) -> None:
    if not reply.done():
        reply.set_exception(Lost("no answer came in time"))


class SimulatedWriter:
    """A process's group commit: batches of what waits, cut anywhere."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._queue: deque[tuple[Command, asyncio.Future[Result]]] = deque()
        self._waiting = 0
        self._busy = False

    def submit(self, command: Command) -> asyncio.Future[Result]:
        """Raises QueueFull, LedgerClosed."""
        process = self._process
        future: asyncio.Future[Result] = process.world.loop.create_future()
        if not process.alive:
            return future
        if process.closing:
            raise LedgerClosed("the ledger is shutting down")
        if self._waiting >= process.world.plan.queue_limit:
            process.world.faults.happened("queue_full")
            raise QueueFull(f"{self._waiting} commands wait")
        self._waiting += 1
        self._queue.append((command, future))
        if not self._busy:
            self._busy = True
            process.world.set_going(self._write_all())
        return future

    async def _write_all(self) -> None:
        queue, world = self._queue, self._process.world
        while queue:
            size = min(len(queue), world.chance.randint(1, world.plan.batch_limit))
            tickets = [queue.popleft() for _ in range(size)]
            answers = await self._commit([command for command, _ in tickets])
            if not self._process.alive:
                return
            self._waiting -= size
            for (command, future), answer in zip(tickets, answers, strict=True):
                if isinstance(answer, Result):
                    world.promises.acknowledged(command, answer)
                if future.done():
                    continue
                if isinstance(answer, Result):
                    future.set_result(answer)
                else:
                    future.set_exception(answer)
            world.redis.publish()
        self._busy = False

    async def _commit(self, batch: Sequence[Command]) -> Sequence[Result | LedgerUnavailable]:
        try:
            return await self._process.link.commit(batch)
        except LedgerUnavailable as error:
            return [error] * len(batch)
