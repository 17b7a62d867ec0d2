"""Hints between machines that something was committed. Nothing depends on one: a hint that is lost costs one period of a poll.

NOTIFY takes a lock of the whole server at its commit, so it is said here, on a connection of its own and at most every 20 ms, and
never in a commit of the ledger.
"""

import logging
import os
import selectors
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import psycopg
from psycopg.sql import SQL, Identifier

from ledger.errors import LedgerUnavailable
from ledger.postgres_connection import Address, Limits, Link

log = logging.getLogger("veloera.ledger")

SAID_EVERY_S = 0.02
LOOKED_EVERY_S = 15.0
"""Whether the connection still lives, where it is quiet."""
FIRST_PAUSE_S = 0.05
LAST_PAUSE_S = 5.0


class Wakeups:
    """Tells the other processes of commits here, and calls `on_hint`, in its own thread, for theirs. Start it after a fork."""

    def __init__(
        self, dsn: str, on_hint: Callable[[], None], *, schema: str = "veloera", limits: Limits | None = None
    ) -> None:
        """Raises StoreRefused for what is no connection string."""
        self.reconnects = 0
        """How often a connection was lost."""
        self._address = Address(dsn, schema=schema, limits=limits)
        self._on_hint = on_hint
        self._stopping = threading.Event()
        self._asked = threading.Event()
        self._heard, self._rung = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="ledger-wakeups", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def committed(self) -> None:
        """Something was committed here. Costs nothing; any thread may say it."""
        if not self._asked.is_set():
            self._asked.set()
            self._ring()

    def stop(self) -> None:
        """End the thread, and wait for it. Not to be started again."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._ring()
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._heard)
        os.close(self._rung)

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # a full pipe rings already
            os.write(self._rung, b"!")

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = monotonic()
            try:
                with self._address.connect("wakeups") as link:
                    link.execute(SQL("LISTEN {}").format(Identifier(self._address.schema)))
                    self._hint()  # whatever was said while nobody listened
                    self._serve(link)
            except (LedgerUnavailable, psycopg.Error) as error:
                self.reconnects += 1
                log.warning(
                    "wakeups_lost", extra={"error": str(self._address.unavailable("listened to", _plain(error)))}
                )
            pause_s = FIRST_PAUSE_S if monotonic() - began > LAST_PAUSE_S else min(2 * pause_s, LAST_PAUSE_S)
            self._stopping.wait(pause_s)

    def _serve(self, link: Link) -> None:
        """Until it is stopped, or the connection breaks."""
        notify = SQL("NOTIFY {}").format(Identifier(self._address.schema))
        own = link.info.backend_pid
        with selectors.DefaultSelector() as selector:
            selector.register(link.fileno(), selectors.EVENT_READ)
            selector.register(self._heard, selectors.EVENT_READ)
            while not self._stopping.is_set():
                ready = selector.select(LOOKED_EVERY_S)
                self._hush()
                if self._asked.is_set():
                    self._asked.clear()
                    link.execute(notify)
                    self._stopping.wait(SAID_EVERY_S)
                elif not ready:
                    link.execute("SELECT 1")
                if any(heard.pid != own for heard in list(link.notifies(timeout=0))):
                    self._hint()

    def _hush(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._heard, 4096):
                pass

    def _hint(self) -> None:
        try:
            self._on_hint()
        except Exception:
            log.exception("hint_listener_failed")


def _plain(error: Exception) -> psycopg.Error:
    return error if isinstance(error, psycopg.Error) else psycopg.OperationalError(str(error))
