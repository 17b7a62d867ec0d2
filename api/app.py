"""The application: FastAPI for people's JSON, raw routes for the relay, one request id on every answer."""

import gc
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from api import problems
from api.admin.router import build_router
from api.asgi import REQUEST_ID, Message, Receive, Scope, Send
from api.client import Client
from api.compose import Services, stop_services
from api.health import health_router
from api.jobs import Jobs
from api.models_routes import models_routes
from api.relay_routes import RelayEndpoint, relay_endpoints, relay_routes
from relay.call import new_request_id

log = logging.getLogger("veloera")

GC_THRESHOLDS = (5_000, 200, 10)
"""A look at 5,000 new objects takes 1 to 2 ms, at 50,000 of 2,000 open streams it took 20, and every stream waits. Calls and connections
leave no rings (there are tests), so that what has grown older, and is looked at whole, is looked at rarely. The default begins at
700: with a framework's object graph that is most of p99."""
THREADS = 16
"""Blocking handlers of the JSON API that may run at once."""


class Front:
    """The outermost layer: gives every request its id, says it on every answer, errors and redirects too, and takes the hot paths.

    Those paths are routes of the application as well (see docs/decisions); here they are found by one look-up, without the
    framework's middle layers.
    """

    def __init__(self, app: ASGIApp, hot: Mapping[str, RelayEndpoint]) -> None:
        self._app = app
        self._hot = hot
        self._direct = {path.encode(): endpoint.serve for path, endpoint in hot.items()}

    def direct(self, method: str, target: bytes) -> Callable[[Client], Awaitable[None]] | None:
        """What answers a hot path for our own HTTP/1 engine, which needs no ASGI for it."""
        return self._direct.get(target) if method == "POST" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = new_request_id()
        raw = request_id.encode()
        if scope["method"] == "POST" and (hot := self._hot.get(scope["path"])) is not None:
            await hot(scope, receive, send)
            return

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
                message["headers"] = [*headers, (b"x-request-id", raw), (b"x-oneapi-request-id", raw)]
            await send(message)

        await self._app(scope, receive, with_id)


def create_app(services: Services, *, on_stop: Callable[[], None] | None = None) -> ASGIApp:
    """The application over started services. It closes them when the server stops."""
    jobs = Jobs(services)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        jobs.start()
        await services.shared.start()
        yield
        await anyio.to_thread.run_sync(jobs.stop)
        await services.shared.stop()
        await services.desk.upstream.close()
        stop_services(services)
        if on_stop is not None:
            on_stop()

    app = FastAPI(
        title="Veloera",
        version=version("veloera"),
        description="An AI API gateway in which money is provable.",
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url="/api/docs",
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    limit = int(services.environment.max_request_body_mb * 1024 * 1024)
    # First in the list, first asked: the hot routes are found before any other is compared.
    endpoints = relay_endpoints(services.desk, body_limit_bytes=limit)
    app.router.routes[:0] = [*relay_routes(endpoints), *models_routes(services.desk)]
    app.include_router(health_router())
    app.include_router(build_router())
    app.add_route("/", landing, methods=["GET"], include_in_schema=False)
    app.add_route("/veloera", project_text, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(404, not_found)
    app.add_exception_handler(405, not_found)
    return Front(app, endpoints)


async def landing(request: Request) -> Response:
    """One plain page until there is a console."""
    page = files("api").joinpath("landing.html").read_text(encoding="utf-8")
    return HTMLResponse(
        page.replace("{{version}}", version("veloera")).replace("{{base}}", str(request.base_url).rstrip("/"))
    )


async def project_text(request: Request) -> Response:
    return PlainTextResponse(project())


def project() -> str:
    """VELOERA_PROJ: in the source tree beside the packages, in a wheel inside `api`."""
    for place in (Path(__file__).parent / "VELOERA_PROJ", Path(__file__).parent.parent / "VELOERA_PROJ"):
        if place.exists():
            return place.read_text(encoding="utf-8")
    return "Veloera, GPL-3.0.\n"


async def not_found(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, as the family says it."""
    problem = problems.invalid_url(request.method, request.url.path, request.scope[REQUEST_ID])
    if request.url.path.startswith(("/v1", "/api")):
        return Response(problem.body, problem.status, media_type="application/json")
    return PlainTextResponse("There is nothing here.\n", 404)
