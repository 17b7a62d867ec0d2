"""Whether this process lives, whether it may be sent calls, and the numbers of all workers for Prometheus."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from api.compose import Services
from api.metrics import exposition
from ledger.spool import spool_of


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
        "ledger": {
            "durability": services.environment.ledger_durability,
            "store": "postgresql" if services.environment.sql_dsn else "sqlite",
            "waiting": writer.waiting,
        },
        "directory_position": services.directory.position,
    }
    standing = services.shared.standing
    body["shared"] = {"redis": standing.redis, "processes": standing.processes}
    body["balance_check"] = {
        "accounts_checked": services.checker.checked,
        "disagreements": len(services.checker.disagreements),
    }
    spool = spool_of(services.desk.ledger)
    if spool is not None:
        body["spool"] = {"waiting": spool.waiting, "age_s": round(spool.age_s, 1), "refused": spool.drainer.refused}
    return JSONResponse(body, 503 if problems else 200)


def metrics(request: Request) -> Response:
    """Of every worker: whoever is asked answers for all. A plain function, since it reads files."""
    return Response(exposition(request.app.state.services), media_type="text/plain; version=0.0.4; charset=utf-8")
