"""Settlements that outlive an outage of the database: the end of a call is kept in a local file until it can be committed.

Whoever is told that an end is kept may finish the response: the record is flushed, and the ledger will have it exactly once, however
often it is sent. Only ends are kept. Holds and extensions are not: what cannot be held now is not begun.
"""

import asyncio
import logging
import random
import threading
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic, time_ns
from typing import NamedTuple

from domain.books import Result
from domain.commands import Command, Extend, Release, Settle
from ledger.errors import LedgerClosed, LedgerError, LedgerUnavailable, SpoolFull
from ledger.spool_drain import Drainer
from ledger.spool_files import UNKNOWN_LEDGER, SpoolFiles
from ledger.spool_frames import IDENTITY_BYTES, MAX_RECORD_BYTES, End, encode, framed
from ledger.spool_watch import Watch
from ledger.sqlite import refuse_network_file_system
from ledger.store import LedgerReader
from ledger.writer import Writer

log = logging.getLogger("veloera.spool")

LIMIT_BYTES = 64 * 1024 * 1024
LIMIT_RECORDS = 100_000
FLUSH_LIMIT_RECORDS = 1024
SPOOL_AFTER_S = 2.0
EXTEND_WITHIN_S = 10.0
PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
LOOK_FOR_DEAD_EVERY_S = 1.0
"""Shorter than the reaper's period: what a dead process kept is best charged before its holds are ended."""

ANSWER_WITHIN_S = 60.0
"""Longer than any commit takes, those before it in the queue included."""

KEPT = Result("created", why="kept in the spool until the database takes it")
"""The answer to an end that is durable here and not yet in the ledger. It has no fact."""


class _Ticket(NamedTuple):
    frame: bytes
    at_ms: int
    future: "Future[Result]"


class Spool:
    """The spool of one process: a thread that flushes what is kept, and one that drains it. Start it after the process was forked."""

    def __init__(self, files: SpoolFiles, drainer: Drainer) -> None:
        self.files = files
        self.drainer = drainer
        self.failed = 0
        """Ends that could not be kept."""
        self._queue: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = threading.Event()
        self._waits = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_all, name="spool-keeper", daemon=True),
            threading.Thread(target=self._drain_all, name="spool-drainer", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Ends that are durable here and not yet in the ledger, as far as is known."""
        return self.files.waiting

    @property
    def age_s(self) -> float:
        """Since the oldest of them was kept; 0 while none waits."""
        oldest_at_ms = self.files.oldest_at_ms
        return max(0.0, time_ns() / 1e9 - oldest_at_ms / 1000) if oldest_at_ms and self.waiting else 0.0

    def keep(self, command: End) -> "Future[Result]":
        """Write an end down; the future gives KEPT once it is flushed, or raises SpoolFull. Never blocks.

        Raises SpoolFull or LedgerClosed at once, when nothing was queued.
        """
        at_ms = time_ns() // 1_000_000
        payload = encode(command, at_ms)
        if len(payload) > MAX_RECORD_BYTES:
            self.failed += 1
            raise SpoolFull(f"a record has {len(payload)} bytes, the spool takes {MAX_RECORD_BYTES}")
        ticket = _Ticket(framed(payload), at_ms, Future())
        with self._closing:
            if self._closed.is_set():
                raise LedgerClosed("the spool is shutting down")
            try:
                self.files.reserve(len(ticket.frame))
            except SpoolFull:
                self.failed += 1
                raise
            self._queue.put(ticket)
        return ticket.future

    def await_drained(self, timeout_s: float) -> bool:
        """Wait until nothing waits any more; False when the time was over first."""
        deadline = monotonic() + timeout_s
        while self.waiting and monotonic() < deadline and not self._closed.wait(0.01):
            pass
        return not self.waiting

    def close(self, timeout_s: float = 10) -> None:
        """Flush what is queued and stop. What waits is drained by the next process, or by the CLI."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
            self._waits.set()
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout_s)
        if any(thread.is_alive() for thread in self._threads):
            log.warning("spool_not_closed: the database does not answer; its files are free when this process is gone")
            return
        self.files.close()

    def _keep_all(self) -> None:
        while (ticket := self._queue.get()) is not None:
            batch, is_last = [ticket], False
            while len(batch) < FLUSH_LIMIT_RECORDS and not is_last:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                is_last = more is None
                batch += [more] if more is not None else []
            self._keep(batch)
            if is_last:
                return

    def _keep(self, batch: list[_Ticket]) -> None:
        try:
            self.files.append([ticket.frame for ticket in batch], batch[0].at_ms)
        except Exception as error:  # noqa: BLE001  # whatever it is: nobody may be left waiting for an answer
            self.failed += len(batch)
            log.error("spool_failed records=%d error=%r", len(batch), error)
            for ticket in batch:
                _end(ticket.future, error if isinstance(error, SpoolFull) else SpoolFull(repr(error)))
            return
        for ticket in batch:
            _end(ticket.future, KEPT)
        self._waits.set()

    def _drain_all(self) -> None:
        pause_s = PAUSE_S
        looked_at_s = 0.0
        while not self._closed.is_set():
            try:
                if monotonic() - looked_at_s >= LOOK_FOR_DEAD_EVERY_S:
                    looked_at_s = monotonic()
                    self.files.adopt()
                if not self.drainer.step():
                    self._idle()
                pause_s = PAUSE_S
                continue
            except LedgerClosed:
                return
            except (LedgerError, OSError) as error:
                log.warning("spool_waits records=%d age_s=%.0f error=%s", self.waiting, self.age_s, error)
            except Exception:
                log.exception("spool_drainer_failed")  # what waits is safe where it is, and is tried again
            self._closed.wait(pause_s * random.uniform(0.5, 1))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    def _idle(self) -> None:
        """Until there is something to drain, or it is time to look for files of processes that died meanwhile."""
        self._waits.wait(LOOK_FOR_DEAD_EVERY_S)
        self._waits.clear()


class SpooledLedger:
    """The writer, and the spool for ends that it does not answer in time. What the relay is given."""

    def __init__(
        self, writer: Writer, spool: Spool, *, after_s: float = SPOOL_AFTER_S, extend_within_s: float = EXTEND_WITHIN_S
    ) -> None:
        self.writer = writer
        self.spool = spool
        self._ends = Watch(after_s, self._keep_instead)
        self._extensions = Watch(extend_within_s, _give_up)

    def submit(self, command: Command) -> "asyncio.Future[Result]":
        """As `Writer.submit`. An end that is not answered in time is answered KEPT; its commit may still come, and does no harm."""
        future = self.writer.submit(command)
        if isinstance(command, Settle | Release):
            self._ends.add(command, future)
        elif isinstance(command, Extend):
            self._extensions.add(command, future)
        return future

    def keep(self, command: End) -> "asyncio.Future[Result]":
        """Keep an end that the writer refused. Raises, and the future raises, SpoolFull; raises LedgerClosed."""
        return asyncio.wrap_future(self.spool.keep(command))

    def _keep_instead(self, command: Command, future: "asyncio.Future[Result]") -> None:
        assert isinstance(command, Settle | Release), "only ends are watched for this"

        def kept(keeping: "asyncio.Future[Result]") -> None:
            error = keeping.exception()
            if error is None and not future.done():
                future.set_result(KEPT)

        try:
            self.keep(command).add_done_callback(kept)
        except LedgerError as error:
            # It waits for the writer, as it would without a spool.
            log.error("spool_failed charge=%s error=%s", command.charge, error)


def _give_up(command: Command, future: "asyncio.Future[Result]") -> None:
    future.set_exception(
        LedgerUnavailable("the ledger did not answer in time; whether it took the command is not known")
    )


def open_spool(
    folder: Path,
    writer: Writer,
    *,
    name: str,
    limit_bytes: int = LIMIT_BYTES,
    limit_records: int = LIMIT_RECORDS,
) -> Spool:
    """The spool in `folder`, for a process with the unique name `name`; adopts the files of dead processes.

    Raises StoreRefused for a network file system, OSError when the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_network_file_system(folder)
    identity = identity_of(writer.store)
    files = SpoolFiles(folder, name, identity, limit_bytes=limit_bytes, limit_records=limit_records)
    files.open()
    files.adopt()
    return Spool(files, drainer_of(files, writer))


def drainer_of(files: SpoolFiles, writer: Writer) -> Drainer:
    return Drainer(files, lambda commands: writer.submit_all_blocking(commands, ANSWER_WITHIN_S), writer.store)


def drained_now(folder: Path, writer: Writer) -> int:
    """Drain what no living process has in charge, here and now; how many records. Raises LedgerUnavailable, LedgerClosed, OSError."""
    files = SpoolFiles(folder, "", identity_of(writer.store), limit_bytes=0, limit_records=0)
    drainer = drainer_of(files, writer)
    try:
        files.adopt()
        while drainer.step():
            pass
    finally:
        files.close()
    return drainer.drained


def identity_of(reader: LedgerReader) -> bytes:
    """Tells one ledger from another, by its first fact: what waits for one must never be drained into another."""
    first = reader.read_stored(0, 1)
    if not first:
        return UNKNOWN_LEDGER
    return sha256(b"%s:%d:" % (first[0].stream.encode(), first[0].version) + first[0].state).digest()[:IDENTITY_BYTES]


def spool_of(ledger: object) -> Spool | None:
    """The spool behind what the relay writes to; None where the ledger is on the same disk and needs none."""
    return ledger.spool if isinstance(ledger, SpooledLedger) else None


def _end(future: "Future[Result]", answer: Result | Exception) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
