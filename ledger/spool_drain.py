"""What waits in the spool is committed, in order. It leaves the spool once its commit was acknowledged, and not before.

Sending an end again does no harm: a stream ends once, however often it is told to. What the ledger will never take is written to
a file for people, with the reason, and holds up nobody behind it.
"""

import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from domain import streams
from domain.books import Result
from domain.commands import Command, Release
from ledger.errors import LedgerClosed, LedgerUnavailable
from ledger.spool_files import SpoolFiles, Unread
from ledger.spool_frames import End, Unreadable, Waiting, decode
from ledger.store import LedgerReader

log = logging.getLogger("veloera.spool")

BATCH_RECORDS = 64
"""A part of what the writer commits at once: live calls come between."""

MAX_EXTENSIONS = 10_000
REFUSED = "refused.jsonl"

Submit = Callable[[Sequence[Command]], list[Result]]
"""`Writer.submit_all_blocking`."""


class Refusal(NamedTuple):
    """A record that the ledger will never take."""

    payload: bytes
    reason: str


class Drainer:
    """Drains the files of one process. One thread at a time calls `step`."""

    def __init__(self, files: SpoolFiles, submit: Submit, reader: LedgerReader) -> None:
        self._files = files
        self._submit = submit
        self._reader = reader
        self._refused = RefusedFile(files.folder / REFUSED)
        self._unread: Unread | None = None
        self._left: deque[bytes] = deque()
        self.drained = 0
        """Ends whose effect stands: recorded by us, by whoever was faster, or not needed any more."""
        self.refused = 0

    def step(self) -> bool:
        """Commit the oldest batch; False when nothing waits.

        Raises LedgerUnavailable, LedgerClosed, OSError: then the batch is still there.
        """
        if self._unread is None:
            self._unread = self._files.oldest()
            if self._unread is None:
                return False
            self._left = deque(self._unread.payloads)
        batch = list(islice(self._left, BATCH_RECORDS))
        refused = self._drain(batch)
        self._refused.add(refused)
        self.drained += len(batch) - len(refused)
        self.refused += len(refused)
        for _ in batch:
            self._left.popleft()
        self._files.drained(len(batch), _kept_at(self._left[0]) if self._left else 0)
        if not self._left:
            self._files.finished(self._unread)
            self._unread = None
        return True

    def _drain(self, batch: list[bytes]) -> list[Refusal]:
        readable: list[tuple[bytes, Waiting]] = []
        refused: list[Refusal] = []
        for payload in batch:
            try:
                readable.append((payload, decode(payload)))
            except Unreadable as error:
                refused.append(Refusal(payload, str(error)))
        answers = self._commit([waiting.command for _, waiting in readable])
        for (payload, waiting), answer in zip(readable, answers, strict=True):
            reason = self._refusal(waiting.command, answer)
            if reason:
                refused.append(Refusal(payload, reason))
        return refused

    def _commit(self, commands: Sequence[End]) -> list[Result | Exception]:
        try:
            return list(self._submit(commands)) if commands else []
        except (LedgerUnavailable, LedgerClosed):
            raise
        except TimeoutError as error:
            raise LedgerUnavailable("the ledger does not answer") from error
        except Exception as error:  # noqa: BLE001  # a bug in one record must not hold up the others: it is found by going one by one
            if len(commands) == 1:
                return [error]
            return [answer for command in commands for answer in self._commit([command])]

    def _refusal(self, command: End, answer: Result | Exception) -> str:
        """Why the ledger will never take an end; "" when it stands."""
        if isinstance(answer, Result) and answer.status == "stale":
            # The answer to its last extension was lost in the outage: the ledger knows how many there are.
            grown = msgspec.structs.replace(command, extensions=self._extensions(command))
            (answer,) = self._commit([grown])
        if isinstance(answer, Exception):
            return f"{type(answer).__name__}: {answer}"
        if answer.ok:
            return ""
        if isinstance(command, Release) and answer.status.startswith("already_"):
            # It was to be given back, and was ended by its deadline, for one.
            log.info("spool_release_was_over charge=%s status=%s", command.charge, answer.status)
            return ""
        return f"{answer.status} {answer.why}".strip()

    def _extensions(self, command: End) -> int:
        n = 0
        while n < MAX_EXTENSIONS and self._reader.read_stream(streams.extension(command.charge, n + 1)):
            n += 1
        return n


class RefusedFile:
    """What the ledger will never take, one JSON object a line. Several processes may add to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[bytes] | None = None

    def add(self, refusals: Sequence[Refusal]) -> None:
        """Write what is not there yet, and flush. Raises OSError."""
        if not refusals:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            there = self._path.read_bytes()
            if self._known is None:
                self._known = {_payload_of(line) for line in there.splitlines()}
            # A record that is drained again after a crash is refused again.
            fresh = [refusal for refusal in refusals if refusal.payload not in self._known]
            cut_off = b"\n" if there and not there.endswith(b"\n") else b""
            _append_all(fd, cut_off + b"".join(_line(refusal) for refusal in fresh))
            self._known.update(refusal.payload for refusal in fresh)
        finally:
            os.close(fd)
        for refusal in fresh:
            log.error("spool_record_refused reason=%s file=%s", refusal.reason, self._path)


def _append_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)


def _line(refusal: Refusal) -> bytes:
    text = refusal.payload.decode("utf-8", "backslashreplace")
    return msgspec.json.encode({"reason": refusal.reason, "record": text}) + b"\n"


def _payload_of(line: bytes) -> bytes:
    try:
        record = msgspec.json.decode(line, type=dict[str, str]).get("record", "")
    except msgspec.DecodeError:
        return b""  # a line that a crash cut off: its record is still in the spool, and is written again
    return record.encode()


def _kept_at(payload: bytes) -> int:
    try:
        return decode(payload).at_ms
    except Unreadable:
        return 0
