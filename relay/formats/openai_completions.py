"""OpenAI legacy completions. Source: https://platform.openai.com/docs/api-reference/completions (read 2026-11)."""

from collections.abc import Mapping

import msgspec

from domain.usage import Usage
from relay import asked as reading
from relay import openai_wire as wire
from relay import sse
from relay.asked import Asked
from relay.errors import BadRequest
from relay.format import Answered, Endpoint, Said
from relay.json_values import JsonObject


class _Choice(msgspec.Struct):
    text: str | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, object] | None = None
    error: msgspec.Raw | None = None


class _Request(msgspec.Struct):
    model: str
    prompt: str | list[object]
    stream: bool | None = None
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    stream_options: wire.StreamOptions | None = None


_request = msgspec.json.Decoder(type=_Request)
_body = msgspec.json.Decoder(type=_Body)
DEFAULT_MAX_TOKENS = 16
"""What the endpoint produces at most when the client does not say."""


class OpenAICompletions:
    """`/v1/completions`: text in, text out."""

    name: Endpoint = "completions"
    path: str = "/completions"
    free_when_empty: bool = True

    def read(self, body: bytes) -> Asked:
        reading.check_text(body)
        fields = reading.fields_of(body)
        request = wire.checked(_request, body)
        if not request.prompt:
            raise BadRequest("prompt is required: a text, texts, or token ids", param="prompt")
        n = reading.count_of(request.n, "n", at_least=1, at_most=reading.MAX_CHOICES) or 1
        best_of = reading.count_of(request.best_of, "best_of", at_least=1, at_most=reading.MAX_CHOICES) or 1
        prompts = _prompts(request.prompt)
        said = reading.count_of(request.max_tokens, "max_tokens")
        return Asked(
            model=reading.model_of(request.model),
            stream=bool(request.stream),
            body=body,
            max_output=DEFAULT_MAX_TOKENS if said is None else said,
            choices=max(n, best_of) * prompts,
            input_bound=reading.prompt_bound(request.prompt, fields["prompt"]),
            wants_usage=bool(request.stream_options and request.stream_options.include_usage),
        )

    def upstream_body(
        self, asked: Asked, *, model: str, stream: bool, ask_for_usage: bool, override: Mapping[str, object]
    ) -> bytes:
        changes = wire.stream_changes(asked, stream=stream, ask_for_usage=ask_for_usage)
        return reading.rewritten(asked, model=model, changes={**changes, **override} if override else changes)

    def read_answer(self, body: bytes) -> Answered | None:
        try:
            answer = _body.decode(body)
        except msgspec.DecodeError:
            return wire.answered_loosely(body)
        if answer.choices is None:
            return Answered(usage=answer.usage, is_error=True) if answer.error is not None else None
        return Answered(usage=answer.usage, is_empty=not any((c.text or "").strip() for c in answer.choices))

    def text_of(self, body: bytes) -> str:
        try:
            return "".join(choice.text or "" for choice in _body.decode(body).choices or [])
        except msgspec.DecodeError:
            return wire.all_text(body)

    def read_event(self, data: bytes) -> Said:
        if data == b"[DONE]":
            return Said(done=True)
        if not data:
            return Said()
        try:
            chunk = _body.decode(data)
        except msgspec.DecodeError:
            return wire.said_loosely(data)
        if chunk.error is not None and not chunk.choices:
            return Said(error=True, usage=chunk.usage)
        if not chunk.choices:
            return Said(usage=chunk.usage, only_usage=chunk.usage is not None)
        text = "".join(choice.text or "" for choice in chunk.choices)
        finish = all(choice.finish_reason is not None for choice in chunk.choices)
        return Said(text, bool(text.strip()), finish, chunk.usage)

    def prompt_of(self, asked: Asked) -> object:
        return reading.parsed(asked.fields["prompt"])

    def tools_of(self, asked: Asked) -> object:
        return None

    def closing(self, asked: Asked, call_id: str, *, like: bytes) -> bytes:
        choices = [JsonObject(index=i, text="", finish_reason="length") for i in range(asked.choices)]
        return sse.event(wire.chunk(like, asked.model, call_id, "cmpl-", "text_completion", choices))

    def usage_event(self, asked: Asked, call_id: str, usage: Usage, *, like: bytes) -> bytes:
        return sse.event(wire.chunk(like, asked.model, call_id, "cmpl-", "text_completion", [], usage))

    def stream_of(self, body: bytes, *, with_usage: bool) -> bytes:
        answer = wire.json_object(body)
        events = [wire.like_answer(answer, "text_completion", [c]) for c in wire.objects(answer.get("choices"))]
        if with_usage and answer.get("usage") is not None:
            events.append(wire.like_answer(answer, "text_completion", [], answer["usage"]))
        return b"".join(map(sse.event, events)) + sse.DONE


def _prompts(prompt: str | list[object]) -> int:
    """How many prompts there are: a list of texts or of token arrays has several."""
    many = isinstance(prompt, list) and isinstance(prompt[0], str | list)
    return len(prompt) if many else 1
