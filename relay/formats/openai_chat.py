"""OpenAI chat completions. Source: https://platform.openai.com/docs/api-reference/chat (read 2026-11)."""

from collections.abc import Mapping

import msgspec

from domain.usage import Usage
from relay import asked as reading
from relay import openai_wire as wire
from relay import sse
from relay.asked import Asked
from relay.errors import BadRequest
from relay.format import Answered, Endpoint, Said
from relay.json_values import JsonObject, as_object


class _Message(msgspec.Struct):
    role: str | None = None
    content: str | list[object] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[msgspec.Raw] | None = None
    function_call: msgspec.Raw | None = None
    audio: msgspec.Raw | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, object] | None = None
    error: msgspec.Raw | None = None


NO_FIELD = msgspec.Raw()


class _Request(msgspec.Struct):
    model: str
    messages: msgspec.Raw
    tools: msgspec.Raw = NO_FIELD
    functions: msgspec.Raw = NO_FIELD
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stream_options: wire.StreamOptions | None = None


class _Listed(msgspec.Struct):
    messages: list[msgspec.Raw]


MAX_BLANKS = 64
"""So far into a list its first item is looked for before the list is parsed."""

_request = msgspec.json.Decoder(type=_Request)
_listed = msgspec.json.Decoder(type=_Listed)
_body = msgspec.json.Decoder(type=_Body)
_DONE = Said(done=True)
_NOTHING = Said()


class OpenAIChat:
    """`/v1/chat/completions`, as OpenAI and everyone compatible speaks it."""

    name: Endpoint = "chat"
    path: str = "/chat/completions"
    free_when_empty: bool = True

    def read(self, body: bytes) -> Asked:
        reading.check_text(body)
        request = wire.checked(_request, body)
        messages = bytes(request.messages)
        _check_messages(messages, body)
        escaped = reading.is_escaped(body)
        limits = (
            reading.count_of(request.max_tokens, "max_tokens"),
            reading.count_of(request.max_completion_tokens, "max_completion_tokens"),
        )
        choices = reading.count_of(request.n, "n", at_least=1, at_most=reading.MAX_CHOICES) or 1
        said = [limit for limit in limits if limit]
        return Asked(
            model=reading.model_of(request.model),
            stream=bool(request.stream),
            body=body,
            max_output=max(said) if said else None,
            choices=choices,
            input_bound=reading.text_bound(messages, request.tools, request.functions, escaped=escaped),
            large=messages,
            escaped=escaped,
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
        choices = answer.choices  # one nearly always: it is looked at without a generator
        empty = not _says(choices[0].message) if len(choices) == 1 else not any(_says(c.message) for c in choices)
        return Answered(answer.usage, empty)

    def text_of(self, body: bytes) -> str:
        try:
            choices = _body.decode(body).choices or []
        except msgspec.DecodeError:
            return wire.all_text(body)
        return "".join(_text(choice.message) for choice in choices)

    def read_event(self, data: bytes) -> Said:
        if data == b"[DONE]":
            return _DONE
        if not data:
            return _NOTHING
        try:
            chunk = _body.decode(data)
        except msgspec.DecodeError:
            return wire.said_loosely(data)
        if chunk.error is not None and not chunk.choices:
            return Said(error=True, usage=chunk.usage)
        if not chunk.choices:
            return Said(usage=chunk.usage, only_usage=chunk.usage is not None)
        if len(chunk.choices) == 1:
            choice = chunk.choices[0]
            text = _text(choice.delta)
            return Said(text, _says(choice.delta), choice.finish_reason is not None, chunk.usage)
        text = "".join(_text(choice.delta) for choice in chunk.choices)
        content = any(_says(choice.delta) for choice in chunk.choices)
        return Said(text, content, all(c.finish_reason is not None for c in chunk.choices), chunk.usage)

    def prompt_of(self, asked: Asked) -> object:
        return reading.parsed(asked.fields["messages"])

    def tools_of(self, asked: Asked) -> object:
        raw = asked.fields.get("tools") or asked.fields.get("functions")
        return reading.parsed(raw) if raw is not None else None

    def closing(self, asked: Asked, call_id: str, *, like: bytes) -> bytes:
        choices = [JsonObject(index=i, delta={}, finish_reason="length") for i in range(asked.choices)]
        return sse.event(wire.chunk(like, asked.model, call_id, "chatcmpl-", "chat.completion.chunk", choices))

    def usage_event(self, asked: Asked, call_id: str, usage: Usage, *, like: bytes) -> bytes:
        return sse.event(wire.chunk(like, asked.model, call_id, "chatcmpl-", "chat.completion.chunk", [], usage))

    def stream_of(self, body: bytes, *, with_usage: bool) -> bytes:
        answer = wire.json_object(body)
        events: list[bytes] = []
        for choice in wire.objects(answer.get("choices")):
            delta = as_object(choice.get("message"))
            if calls := wire.objects(delta.get("tool_calls")):
                delta = {**delta, "tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]}
            place: JsonObject = {"index": choice.get("index", 0)}
            events.append(
                wire.like_answer(answer, "chat.completion.chunk", [{**place, "delta": delta, "finish_reason": None}])
            )
            ending = {**place, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
            events.append(wire.like_answer(answer, "chat.completion.chunk", [ending]))
        if with_usage and answer.get("usage") is not None:
            events.append(wire.like_answer(answer, "chat.completion.chunk", [], answer["usage"]))
        return b"".join(map(sse.event, events)) + sse.DONE


def _check_messages(messages: bytes, body: bytes) -> None:
    """A list with something in it. Raises BadRequest."""
    begins = messages[:MAX_BLANKS]
    if begins[:1] == b"[" and begins[1:].lstrip()[:1] not in (b"", b"]"):
        return
    if not wire.checked(_listed, body).messages:
        raise BadRequest("messages is required: at least one message", param="messages")


def _text(message: _Message | None) -> str:
    if message is None:
        return ""
    content = message.content
    text = content if isinstance(content, str) else wire.text_of_parts(content) if content else ""
    if message.reasoning_content or message.reasoning:
        text += message.reasoning_content or message.reasoning or ""
    if message.refusal:
        text += message.refusal
    if message.tool_calls:
        text += "".join(wire.text_of_tool_call(raw) for raw in message.tool_calls)
    if message.function_call is not None:
        text += wire.text_of_tool_call(message.function_call)
    return text


def _says(message: _Message | None) -> bool:
    """True for anything a client would call an answer; blank space is none."""
    if message is None:
        return False
    if message.tool_calls or message.function_call is not None or message.audio is not None:
        return True
    content = message.content
    if isinstance(content, str):
        if content and not content.isspace():
            return True
    elif content:
        return True
    reasoning = message.reasoning_content or message.reasoning or message.refusal
    return bool(reasoning and not reasoning.isspace())
