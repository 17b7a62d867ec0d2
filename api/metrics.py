"""The gateway's numbers for Prometheus. Every series says which worker it is of, and whichever worker is asked answers for all.

Names follow Prometheus' rules (base units, `_total` for counters) and OpenTelemetry's GenAI words for tokens. Workers share a
port, so a scrape reaches any of them: each leaves its numbers in a file that the others read, some seconds old at most.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import time

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from api.compose import Services
from ledger.errors import LedgerError
from ledger.spool import spool_of
from projections.errors import ProjectionError
from relay.figures import BOUNDS_S, Histogram

log = logging.getLogger("veloera")

LEFT_EVERY_S = 2
FORGOTTEN_AFTER_S = 30
"""A worker that left nothing for so long is gone, and so are its series."""


class Family(msgspec.Struct, frozen=True):
    """One metric of one worker, as it is left for the others."""

    name: str
    help: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


class Left(msgspec.Struct, frozen=True):
    at_s: float
    families: list[Family]


def exposition(services: Services) -> bytes:
    """The text of all workers' metrics."""
    registry = CollectorRegistry()
    registry.register(_Together(services))
    return generate_latest(registry)


def leave(services: Services) -> None:
    """Leave this worker's numbers where the others find them."""
    left = Left(time(), [_family(metric, services.slot) for metric in _own(services)])
    path = _path(services.books.folder, services.slot)
    made = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        made.write_bytes(msgspec.json.encode(left))
        made.replace(path)  # whole: nobody reads half of it
    except OSError as error:
        log.warning("metrics_not_left error=%s", error)


def _path(folder: Path, slot: int) -> Path:
    return folder / "metrics" / f"worker-{slot}.json"


def _own(services: Services) -> Iterator[Metric]:
    yield from Collector(services).collect()
    yield from ProcessCollector(registry=None).collect()


def _family(metric: Metric, slot: int) -> Family:
    samples = [(one.name, {**one.labels, "worker": str(slot)}, one.value) for one in metric.samples]
    return Family(metric.name, metric.documentation, metric.type, samples)


class _Together:
    """This worker's numbers as they are, and those that the others left."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for family in self._families():
            metric = found.setdefault(family.name, Metric(family.name, family.help, family.type))
            for name, labels, value in family.samples:
                metric.add_sample(name, labels, value)
        yield from found.values()

    def _families(self) -> Iterator[Family]:
        services = self._services
        for metric in _own(services):
            yield _family(metric, services.slot)
        for slot in range(services.environment.workers):
            if slot != services.slot:
                yield from _others(_path(services.books.folder, slot))


def _others(path: Path) -> list[Family]:
    try:
        left = msgspec.json.decode(path.read_bytes(), type=Left)
    except (OSError, msgspec.MsgspecError):
        return []
    return left.families if time() - left.at_s < FORGOTTEN_AFTER_S else []


class Collector:
    """Reads the process's own numbers when they are asked for: a call only adds to plain integers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        yield from self._calls()
        yield from self._money()
        yield from self._ledger()
        yield from self._spool()
        yield from self._balances()

    def _calls(self) -> Iterator[Metric]:
        figures = self._services.desk.figures
        calls = CounterMetricFamily(
            "veloera_calls", "Client requests by endpoint and status", labels=["endpoint", "status"]
        )
        # Copied in one step here and below: calls add to these dicts while a scrape reads them.
        for (endpoint, status), count in list(figures.calls.items()):
            calls.add_metric([endpoint, str(status)], count)
        yield calls
        yield _labelled("veloera_call_endings", "Why holds ended", "ended_by", figures.endings.items())
        yield _labelled(
            "veloera_call_refusals", "Calls refused before a hold, by code", "code", figures.refusals.items()
        )
        attempts = CounterMetricFamily(
            "veloera_attempts", "Attempts by channel and outcome", labels=["channel", "outcome"]
        )
        for (channel, outcome), count in list(figures.attempts.items()):
            attempts.add_metric([str(channel), outcome], count)
        yield attempts
        yield _histogram("gen_ai_server_request_duration_seconds", "From the request to its end", figures.duration)
        yield _histogram("gen_ai_server_time_to_first_token_seconds", "Until a stream's first byte", figures.first_byte)
        yield GaugeMetricFamily("veloera_calls_open", "Calls with an open hold", len(self._services.desk.open_calls))

    def _money(self) -> Iterator[Metric]:
        figures = self._services.desk.figures
        tokens = CounterMetricFamily("gen_ai_client_token_usage", "Tokens charged", labels=["gen_ai_token_type"])
        tokens.add_metric(["input"], figures.tokens_in)
        tokens.add_metric(["output"], figures.tokens_out)
        yield tokens
        for name, help_, mills in (
            ("veloera_cost_mills", "Cost of settled calls, mills", figures.cost_mills),
            ("veloera_paid_mills", "Paid by users, mills", figures.paid_mills),
            ("veloera_written_off_mills", "Cost that nobody could pay, mills", figures.written_off_mills),
        ):
            yield CounterMetricFamily(name, help_, mills)

    def _ledger(self) -> Iterator[Metric]:
        writer = self._services.books.writer
        yield CounterMetricFamily("veloera_ledger_commits", "Transactions", writer.commits)
        yield CounterMetricFamily("veloera_ledger_commands", "Commands committed", writer.commands)
        yield GaugeMetricFamily("veloera_ledger_waiting", "Commands queued or being committed", writer.waiting)
        lag = self._lag()
        if lag is not None:
            yield GaugeMetricFamily("veloera_projection_lag_facts", "Facts not yet in the read models", lag)
        yield GaugeMetricFamily("veloera_uptime_seconds", "Since the start", time() - self._services.started_at_s)

    def _lag(self) -> int | None:
        """None while the database does not answer: a scrape neither waits for it nor fails with it."""
        if not self._services.directory.is_fresh:
            return None
        try:
            return self._services.books.read.lag()
        except (LedgerError, ProjectionError):
            return None

    def _balances(self) -> Iterator[Metric]:
        """Only the leader checks: the others' figures stay at nothing."""
        checker = self._services.checker
        yield CounterMetricFamily("veloera_balances_checked", "Accounts compared in three ways", checker.checked)
        yield GaugeMetricFamily(
            "veloera_balance_disagreements",
            "Accounts of which three ways do not say the same",
            len(checker.disagreements),
        )
        yield GaugeMetricFamily("veloera_balance_check_timestamp_seconds", "When it was run last", checker.last_at_s)

    def _spool(self) -> Iterator[Metric]:
        spool = spool_of(self._services.desk.ledger)
        if spool is None:
            return
        yield GaugeMetricFamily("veloera_spool_waiting", "Ends of calls that wait for the database", spool.waiting)
        yield GaugeMetricFamily("veloera_spool_age_seconds", "Since the oldest of them was kept", spool.age_s)
        for name, help_, count in (
            ("veloera_spool_drained", "Ends that the database took later", spool.drainer.drained),
            ("veloera_spool_refused", "Ends that the ledger will never take", spool.drainer.refused),
            ("veloera_spool_failed", "Ends that could not be kept", spool.failed),
            ("veloera_spool_damaged", "Stretches of spool files that were no record", spool.files.damaged),
        ):
            yield CounterMetricFamily(name, help_, count)


def _labelled(name: str, help_: str, label: str, values: Iterable[tuple[str, int]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_, labels=[label])
    for value, count in list(values):
        family.add_metric([value], count)
    return family


def _histogram(name: str, help_: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.buckets, strict=True):
        below += count
        buckets.append((bound, below))
    return HistogramMetricFamily(name, help_, buckets=buckets, sum_value=histogram.total)
