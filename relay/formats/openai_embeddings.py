"""OpenAI embeddings. Source: https://platform.openai.com/docs/api-reference/embeddings (read 2026-11)."""

from collections.abc import Mapping

import msgspec

from domain.usage import Usage
from relay import asked as reading
from relay import openai_wire as wire
from relay.asked import Asked
from relay.errors import BadRequest
from relay.format import Answered, Endpoint, Said


class _Request(msgspec.Struct):
    model: str
    input: str | list[object]


class _Body(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    usage: dict[str, object] | None = None
    error: msgspec.Raw | None = None


_request = msgspec.json.Decoder(type=_Request)
_body = msgspec.json.Decoder(type=_Body)


class OpenAIEmbeddings:
    """`/v1/embeddings`: input only, never streamed, never free for being empty."""

    name: Endpoint = "embeddings"
    path: str = "/embeddings"
    free_when_empty: bool = False

    def read(self, body: bytes) -> Asked:
        reading.check_text(body)
        fields = reading.fields_of(body)
        request = wire.checked(_request, body)
        if not request.input:
            raise BadRequest("input is required: a text, texts, or token ids", param="input")
        return Asked(
            model=reading.model_of(request.model),
            stream=False,
            body=body,
            max_output=0,
            choices=1,
            input_bound=reading.prompt_bound(request.input, fields["input"]),
            wants_usage=False,
        )

    def upstream_body(
        self, asked: Asked, *, model: str, stream: bool, ask_for_usage: bool, override: Mapping[str, object]
    ) -> bytes:
        return reading.rewritten(asked, model=model, changes=override)

    def read_answer(self, body: bytes) -> Answered | None:
        try:
            answer = _body.decode(body)
        except msgspec.DecodeError:
            return wire.answered_loosely(body)
        if answer.data is None:
            return Answered(usage=answer.usage, is_error=True) if answer.error is not None else None
        return Answered(usage=answer.usage, is_empty=not answer.data)

    def text_of(self, body: bytes) -> str:
        return ""

    def read_event(self, data: bytes) -> Said:
        return Said()

    def prompt_of(self, asked: Asked) -> object:
        return reading.parsed(asked.fields["input"])

    def tools_of(self, asked: Asked) -> object:
        return None

    def closing(self, asked: Asked, call_id: str, *, like: bytes) -> bytes:
        return b""

    def usage_event(self, asked: Asked, call_id: str, usage: Usage, *, like: bytes) -> bytes:
        return b""

    def stream_of(self, body: bytes, *, with_usage: bool) -> bytes:
        return body
