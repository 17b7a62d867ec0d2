"""Jobs that one process of all does: the leader. Another takes over when it is gone.

That two lead for a moment, when a connection to the server was lost, does no harm: what a job writes, the ledger takes once.
"""

import logging
from collections.abc import Callable
from threading import Lock
from time import time_ns

from apscheduler.schedulers.background import BackgroundScheduler  # pyright: ignore[reportMissingTypeStubs]

from api.admin.sessions import forget_expired
from api.compose import Services
from api.metrics import LEFT_EVERY_S, leave
from ledger.epochs import end_dead_holds
from ledger.errors import LedgerError
from ledger.sealer import Sealer
from ledger.store import Lead

log = logging.getLogger("veloera.jobs")

REAP_EVERY_S = 2
SEAL_EVERY_S = 10
FORGET_SESSIONS_EVERY_S = 600
CHECK_EVERY_S = 60
MISFIRE_GRACE_S = 30


class Jobs:
    """The scheduler of one process. Its jobs run in threads of their own, never on the event loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lead: Lead | None = None
        self._asking = Lock()
        self._sealer = Sealer(services.books.store, services.books.folder, services.environment.seal_key)
        self._scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": MISFIRE_GRACE_S}
        )
        for name, every_s, job in (
            ("reap_holds", REAP_EVERY_S, self._reap),
            ("forget_sessions", FORGET_SESSIONS_EVERY_S, self._forget_sessions),
            ("check_balances", CHECK_EVERY_S, self._check),
        ):
            self._scheduler.add_job(self._led, "interval", seconds=every_s, id=name, args=(name, job))
        # Whoever leads the rest may lack the key that another machine seals with: the sealer has a lead of its own.
        self._scheduler.add_job(self._tried, "interval", seconds=SEAL_EVERY_S, id="seal", args=("seal", self._seal))
        if services.environment.workers > 1:  # for every one of them, whoever leads
            self._scheduler.add_job(leave, "interval", seconds=LEFT_EVERY_S, id="leave_metrics", args=(services,))

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """Let the running job end, then give the lead away."""
        self._scheduler.shutdown(wait=True)
        self._sealer.close()
        if self._lead is not None:
            self._lead.close()

    @property
    def leads(self) -> bool:
        """Whether this process does the jobs now. Jobs ask one after the other: the second would be refused what the first took."""
        with self._asking:
            if self._lead is not None and not self._lead.is_held():
                self._lead.close()
                self._lead = None
            if self._lead is None:
                self._lead = self._services.books.store.lead("leader")
            return self._lead is not None

    def _led(self, name: str, job: Callable[[], None]) -> None:
        self._tried(name, lambda: job() if self.leads else None)

    def _tried(self, name: str, job: Callable[[], None]) -> None:
        try:
            job()
        except LedgerError as error:
            log.warning("job_failed job=%s error=%s", name, error)

    def _reap(self) -> None:
        books = self._services.books
        ended = end_dead_holds(books.store, books.writer, self._services.epoch)
        if ended:
            log.warning("holds_reaped count=%d", ended)

    def _seal(self) -> None:
        try:
            self._sealer.run(time_ns() // 1_000_000)
        except LedgerError:
            self._sealer.close()  # so that a machine that has the key comes to it
            raise

    def _forget_sessions(self) -> None:
        forget_expired(self._services.books.store)

    def _check(self) -> None:
        self._services.checker.run()
