"""Jobs that one process of many does: the leader, who holds `flock(leader.lock)`. Another takes over when it is gone.

This release has one: ending holds whose process died or whose deadline passed.
"""

import fcntl
import logging
import os

from apscheduler.schedulers.background import BackgroundScheduler  # pyright: ignore[reportMissingTypeStubs]

from api.compose import Services
from ledger.epochs import end_dead_holds
from ledger.errors import LedgerError

log = logging.getLogger("veloera.jobs")

REAP_EVERY_S = 2
MISFIRE_GRACE_S = 30


class Jobs:
    """The scheduler of one process. Its jobs run in threads of their own, never on the event loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock_fd = os.open(services.books.folder / "leader.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._leads = False
        self._scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": MISFIRE_GRACE_S}
        )
        self._scheduler.add_job(self._reap, "interval", seconds=REAP_EVERY_S, id="reap_holds")

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """Let the running job end, then give the lead away."""
        self._scheduler.shutdown(wait=True)
        os.close(self._lock_fd)

    @property
    def leads(self) -> bool:
        """Whether this process does the jobs now."""
        if not self._leads:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._leads = True
        return True

    def _reap(self) -> None:
        if not self.leads:
            return
        books = self._services.books
        try:
            ended = end_dead_holds(books.store, books.writer, self._services.epoch)
        except LedgerError as error:
            log.warning("reaping_failed error=%s", error)
            return
        if ended:
            log.warning("holds_reaped count=%d", ended)
