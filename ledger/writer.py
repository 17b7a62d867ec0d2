"""Group commit: one thread writes whatever queued up while the last commit ran. The event loop never waits for the disk.

No timer: batches grow under load and are single commands at rest. A command is answered after its commit and not before; one
that fails the batch is found by halving and fails alone.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import get_ident

from domain.books import Result
from domain.commands import Command
from ledger.errors import LedgerClosed, LedgerUnavailable, QueueFull
from ledger.store import LedgerStore

log = logging.getLogger("veloera.ledger")

BATCH_LIMIT_COMMANDS = 256
BATCH_LIMIT_BYTES = 128 * 1024
QUEUE_LIMIT_COMMANDS = 8192

Answer = Result | BaseException


_Ticket = tuple[Command, asyncio.AbstractEventLoop | None, "asyncio.Future[Result] | Future[Result]"]
"""A command, and where its answer goes: to a future of this loop, or to a thread's."""


class Outcome(asyncio.Future[Result]):
    """What becomes of a command. It is always waited for to its end: a task that is cancelled meanwhile goes on once it is known, and is
    cancelled then.
    """

    def cancel(self, msg: object = None) -> bool:
        """Nobody can take a command back: asyncio keeps the cancellation until this is done."""
        return False


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
        self._queue: deque[_Ticket] = deque()
        self._waiting = 0
        self._count_lock = threading.Lock()
        self._closed = False
        self._is_idle = False
        self._submitter: tuple[int, asyncio.AbstractEventLoop | None] = 0, None
        """Which loop submitted last, and the thread that it runs in."""
        self._woken_by: asyncio.AbstractEventLoop | None = None
        """The loop that wakes the writer at the end of its turn."""
        self._sleep = threading.Lock()
        """Taken by the writer before it sleeps and given back by whoever wakes it."""
        self._sleep.acquire()
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
        """Queue a command from the running loop; the future, an Outcome, ends after its commit.

        Raises QueueFull or LedgerClosed at once, when nothing was queued. The future raises LedgerUnavailable.
        """
        thread, loop = self._submitter
        if loop is None or thread != get_ident() or not loop.is_running():
            # Asked for once: in Python 3.11 each asking is a system call.
            loop = asyncio.get_running_loop()
            self._submitter = get_ident(), loop
        future = Outcome(loop=loop)
        self._put((command, loop, future))
        # Once a turn of the loop, for all that it submits: to wake a thread costs as much as a good part of a commit. A writer
        # that is not idle looks at the queue before it sleeps.
        if self._is_idle and self._woken_by is not loop:
            self._woken_by = loop
            loop.call_soon(self._end_turn)
        return future

    def submit_blocking(self, command: Command, timeout_s: float | None = 60) -> Result:
        """Queue a command from a thread and wait for its commit."""
        return self.submit_all_blocking([command], timeout_s)[0]

    def submit_all_blocking(self, commands: Sequence[Command], timeout_s: float | None = 60) -> list[Result]:
        """Queue several commands from a thread, to be committed together, and wait for all of them."""
        futures: list[Future[Result]] = []
        try:
            for command in commands:
                future: Future[Result] = Future()
                self._put((command, None, future))
                futures.append(future)
        finally:
            self._wake()
        return [future.result(timeout_s) for future in futures]

    def close(self, timeout_s: float = 30) -> None:
        """Commit what is queued, then stop. Later commands raise LedgerClosed."""
        with self._count_lock:
            self._closed = True
        self._wake()
        self._thread.join(timeout_s)

    def _put(self, ticket: _Ticket) -> None:
        with self._count_lock:
            if self._closed:
                raise LedgerClosed("the ledger is shutting down")
            if self._waiting >= self.queue_limit:
                raise QueueFull(f"{self._waiting} commands wait for the ledger, the limit is {self.queue_limit}")
            self._waiting += 1
            self._queue.append(ticket)

    def _end_turn(self) -> None:
        self._woken_by = None
        self._wake()

    def _wake(self) -> None:
        # Whoever finds it given back already has nothing to do: the writer will look once for both.
        with suppress(RuntimeError):
            self._sleep.release()

    def _run(self) -> None:
        while batch := self._next():
            self._answer(batch, self._commit([command for command, _, _ in batch]))

    def _next(self) -> list[_Ticket]:
        """What is queued, within the limits of a batch; waits while that is nothing. Empty when nothing can come any more."""
        while not self._queue:
            closed = self._closed  # read before the queue: nothing is queued behind it
            self._is_idle = True
            # Whoever queues now sees an idle writer; what was queued before is seen here.
            if not self._queue:
                if closed:
                    return []
                self._sleep.acquire()
            self._is_idle = False
        batch: list[_Ticket] = []
        size = 0
        while self._queue and len(batch) < self.batch_limit and size < BATCH_LIMIT_BYTES:
            ticket = self._queue.popleft()
            batch.append(ticket)
            size += ticket[0].weight_bytes
        return batch

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
        for (_, loop, future), answer in zip(batch, answers, strict=True):
            if isinstance(future, Future):
                _end_blocking(future, answer)
            elif loop is not None:
                by_loop.setdefault(loop, []).append((future, answer))
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
