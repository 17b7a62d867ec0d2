"""How a request of the JSON API is read: a bounded JSON body on a path with or without a slash at its end.

What goes wrong comes back in the envelope, except bugs, which stay loud. Answers may hold secrets, so nothing caches them.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from api.admin.envelope import Problem, refused
from api.admin.refusals import TooLarge

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Twice over what the longest setting takes."""
REFUSED: dict[int | str, dict[str, Any]] = {
    "default": {"model": Problem, "description": "Refused; nothing was changed. The status says by whose fault."}
}
"""One entry for all statuses: nine for each route would cost every worker half a second at its start."""


class EnvelopeRoute(APIRoute):
    """A route that answers errors in the envelope."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI, inside ours."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                response = await inner(Request(_as_json(request), _bounded(request.receive)))
            except Exception as error:  # what is no refusal is raised again
                answer = refused(error)
                if answer is None:
                    raise
                response = answer
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handler


class Routes(APIRouter):
    """The routes of one resource. Both spellings of a path answer, without a redirect; one of them is documented."""

    def __init__(self, tag: str) -> None:
        super().__init__(
            tags=[tag],
            route_class=EnvelopeRoute,
            generate_unique_id_function=lambda route: route.name,
        )

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Add `path` and its other spelling."""
        other = path.removesuffix("/") if path.endswith("/") else path + "/"
        undocumented: dict[str, Any] = {**options, "include_in_schema": False}
        documented: dict[str, Any] = {**options, "responses": {**REFUSED, **(options.get("responses") or {})}}
        super().add_api_route(path, endpoint, **documented)
        super().add_api_route(other, endpoint, **undocumented)


def _as_json(request: Request) -> dict[str, Any]:
    """The scope with a body that is JSON whatever its header says, as the family reads it.

    A browser cannot be tricked into sending it: the session cookie is SameSite=Strict, and a header of ours is required.
    """
    kept = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    return {**request.scope, "headers": [*kept, (b"content-type", b"application/json")]}


def _bounded(receive: Receive) -> Receive:
    """The body, until it is longer than the API takes."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY_BYTES:
            raise TooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes")
        return message

    return bounded
