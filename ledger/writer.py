"""Group commit: one thread writes whatever queued up while the last commit ran. The event loop never waits for the disk.

No timer: batches grow under load and are single commands at rest. A command is answered after its commit and not before; one
that fails the batch is found by halving and fails alone.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

from domain.books import Result
from domain.commands import Command
from ledger.errors import LedgerClosed, LedgerUnavailable, QueueFull
from ledger.store import LedgerStore

log = logging.getLogger("veloera.ledger")

BATCH_LIMIT_COMMANDS = 256
BATCH_LIMIT_BYTES = 128 * 1024
QUEUE_LIMIT_COMMANDS = 8192

Answer = Result | BaseException


class _Ticket(NamedTuple):
    command: Command
    loop: asyncio.AbstractEventLoop | None
    future: "asyncio.Future[Result] | Future[Result]"


class Writer:
    """The only way into a store from a process. Start it once, after the process was forked."""

    def __init__(
        self,
        store: LedgerStore,
        *,
        batch_limit: int = BATCH_LIMIT_COMMANDS,
        queue_limit: int = QUEUE_LIMIT_COMMANDS,
        on_commit: Callable[[Sequence[Result]], None] | None = None,
    ) -> None:
        self.store = store
        self.batch_limit = batch_limit
        self.queue_limit = queue_limit
        self.on_commit = on_commit
        self.commits = 0
        self.commands = 0
        self._queue: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._waiting = 0
        self._count_lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Commands that are queued or being committed."""
        return self._waiting

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(self, command: Command) -> "asyncio.Future[Result]":
        """Queue a command from the running loop; the future ends after its commit.

        Raises QueueFull or LedgerClosed at once, when nothing was queued. The future raises LedgerUnavailable.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._put(_Ticket(command, loop, future))
        return future

    def submit_blocking(self, command: Command, timeout_s: float | None = 60) -> Result:
        """Queue a command from a thread and wait for its commit."""
        future: Future[Result] = Future()
        self._put(_Ticket(command, None, future))
        return future.result(timeout_s)

    def submit_all_blocking(self, commands: Sequence[Command], timeout_s: float | None = 60) -> list[Result]:
        """Queue several commands from a thread, to be committed together, and wait for all of them."""
        futures: list[Future[Result]] = []
        for command in commands:
            future: Future[Result] = Future()
            self._put(_Ticket(command, None, future))
            futures.append(future)
        return [future.result(timeout_s) for future in futures]

    def close(self, timeout_s: float = 30) -> None:
        """Commit what is queued, then stop. Later commands raise LedgerClosed."""
        with self._count_lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join(timeout_s)

    def _put(self, ticket: _Ticket) -> None:
        with self._count_lock:
            if self._closed:
                raise LedgerClosed("the ledger is shutting down")
            if self._waiting >= self.queue_limit:
                raise QueueFull(f"{self._waiting} commands wait for the ledger, the limit is {self.queue_limit}")
            self._waiting += 1
            self._queue.put(ticket)

    def _run(self) -> None:
        while True:
            ticket = self._queue.get()
            if ticket is None:
                return
            batch, last = self._drain(ticket)
            self._answer(batch, self._commit([ticket.command for ticket in batch]))
            if last:
                return

    def _drain(self, first: _Ticket) -> tuple[list[_Ticket], bool]:
        batch, size = [first], first.command.weight_bytes
        while len(batch) < self.batch_limit and size < BATCH_LIMIT_BYTES:
            try:
                ticket = self._queue.get_nowait()
            except Empty:
                break
            if ticket is None:
                return batch, True
            batch.append(ticket)
            size += ticket.command.weight_bytes
        return batch, False

    def _commit(self, batch: list[Command]) -> list[Answer]:
        try:
            results = self.store.commit(batch)
        except LedgerUnavailable as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001  # a bug in one command is found by halving, and ends in its own future
            if len(batch) == 1:
                return [error]
            half = len(batch) // 2
            return self._commit(batch[:half]) + self._commit(batch[half:])
        self.commits += 1
        self.commands += len(batch)
        self._tell(results)
        return list(results)

    def _tell(self, results: Sequence[Result]) -> None:
        if self.on_commit is None:
            return
        try:
            self.on_commit(results)
        except Exception:
            log.exception("commit_listener_failed")  # what was committed stands, and its askers are waiting

    def _answer(self, batch: list[_Ticket], answers: list[Answer]) -> None:
        with self._count_lock:
            self._waiting -= len(batch)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Result], Answer]]] = {}
        for ticket, answer in zip(batch, answers, strict=True):
            if isinstance(ticket.future, Future):
                _end_blocking(ticket.future, answer)
            elif ticket.loop is not None:
                by_loop.setdefault(ticket.loop, []).append((ticket.future, answer))
        for loop, pairs in by_loop.items():
            # A loop that has closed has nobody left to tell; what was committed stands.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_end_all, pairs)


def _end_all(pairs: list[tuple["asyncio.Future[Result]", Answer]]) -> None:
    for future, answer in pairs:
        if future.done():
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _end_blocking(future: "Future[Result]", answer: Answer) -> None:
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
