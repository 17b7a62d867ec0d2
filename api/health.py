"""Whether this process lives, whether it may be sent calls, and its numbers for Prometheus.

Metric names follow Prometheus' rules (base units, `_total` for counters) and OpenTelemetry's GenAI words for tokens.
"""

from collections.abc import Iterable, Iterator
from time import time

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from starlette.responses import Response

from api.compose import Services
from relay.figures import BOUNDS_S, Histogram


def health_router() -> APIRouter:
    router = APIRouter(tags=["operations"])
    router.add_api_route("/healthz", healthz, methods=["GET"], summary="Is the process alive")
    router.add_api_route("/readyz", readyz, methods=["GET"], summary="May calls be sent here")
    router.add_api_route("/metrics", metrics, methods=["GET"], summary="Prometheus metrics", response_class=Response)
    return router


async def healthz() -> dict[str, str]:
    return {"status": "ok"}


async def readyz(request: Request) -> JSONResponse:
    """200 when the ledger takes commands and the directory is fresh; else 503 with what is wrong."""
    services: Services = request.app.state.services
    writer = services.books.writer
    problems: list[str] = []
    if not writer.is_alive:
        problems.append("the ledger's writer has stopped")
    if writer.waiting >= writer.queue_limit:
        problems.append("the ledger's queue is full")
    if not services.directory.is_fresh:
        problems.append("the directory has fallen behind")
    body: dict[str, object] = {
        "status": "unready" if problems else "ready",
        "problems": problems,
        "ledger": {"durability": services.environment.ledger_durability, "store": "sqlite", "waiting": writer.waiting},
        "directory_position": services.directory.position,
    }
    return JSONResponse(body, 503 if problems else 200)


async def metrics(request: Request) -> Response:
    registry = CollectorRegistry()
    registry.register(_Collector(request.app.state.services))
    ProcessCollector(registry=registry)
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Collector:
    """Reads the process's own numbers when they are asked for: a call only adds to plain integers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        yield from self._calls()
        yield from self._money()
        yield from self._ledger()

    def _calls(self) -> Iterator[Metric]:
        figures = self._services.desk.figures
        calls = CounterMetricFamily(
            "veloera_calls", "Client requests by endpoint and status", labels=["endpoint", "status"]
        )
        for (endpoint, status), count in figures.calls.items():
            calls.add_metric([endpoint, str(status)], count)
        yield calls
        yield _labelled("veloera_call_endings", "Why holds ended", "ended_by", figures.endings.items())
        yield _labelled(
            "veloera_call_refusals", "Calls refused before a hold, by code", "code", figures.refusals.items()
        )
        attempts = CounterMetricFamily(
            "veloera_attempts", "Attempts by channel and outcome", labels=["channel", "outcome"]
        )
        for (channel, outcome), count in figures.attempts.items():
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
        yield GaugeMetricFamily(
            "veloera_projection_lag_facts", "Facts not yet in the read models", self._services.books.read.lag()
        )
        yield GaugeMetricFamily("veloera_uptime_seconds", "Since the start", time() - self._services.started_at_s)


def _labelled(name: str, help_: str, label: str, values: Iterable[tuple[str, int]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_, labels=[label])
    for value, count in values:
        family.add_metric([value], count)
    return family


def _histogram(name: str, help_: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.buckets, strict=True):
        below += count
        buckets.append((bound, below))
    return HistogramMetricFamily(name, help_, buckets=buckets, sum_value=histogram.total)
