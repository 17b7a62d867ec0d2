"""`/v1/models`: what the caller's key may call. Source: OpenAI API reference, "Models" (read 2026-11)."""

import msgspec
from starlette.routing import Route as StarletteRoute

from api import problems
from api.asgi import Receive, Scope, Send
from api.client import AsgiClient, lines_of
from relay.admission import authenticate
from relay.call import Call
from relay.desk import Desk
from relay.errors import RelayError, UnknownModel

CREATED_S = 1626777600
"""The family's date for every model: nobody knows a better one."""


class ModelsEndpoint:
    """The list, or one model of it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = AsgiClient(scope, receive, send)
        cors = [("content-type", "application/json"), ("access-control-allow-origin", "*")]
        try:
            call = Call(endpoint="models", body=b"", credential=client.asker.credential, id=client.request_id)
            allowed = self._allowed(call)
            wanted = scope.get("path_params", {}).get("model")
            if wanted is None:
                found: object = {"object": "list", "success": True, "data": [_model(name) for name in allowed]}
            elif wanted in allowed:
                found = _model(wanted)
            else:
                raise UnknownModel(wanted)
        except RelayError as error:
            problem = problems.openai_problem(error, client.request_id)
            await client.answer(problem.status, lines_of([*cors, *problem.headers]), problem.body)
            return
        await client.answer(200, lines_of(cors), msgspec.json.encode(found))

    def _allowed(self, call: Call) -> list[str]:
        caller = authenticate(call, self._desk)
        names = self._desk.directory.models(caller.group)
        terms = caller.key.terms
        return [name for name in names if not terms.model_limits_enabled or name in terms.model_limits]


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED_S, "owned_by": "veloera", "root": name, "parent": None}


def models_routes(desk: Desk) -> list[StarletteRoute]:
    endpoint = ModelsEndpoint(desk)
    return [
        StarletteRoute("/v1/models", endpoint, methods=["GET"], name="models"),
        StarletteRoute("/v1/models/{model:path}", endpoint, methods=["GET"], name="model"),
    ]
