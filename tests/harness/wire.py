"""OpenAI's wire shapes as scripts: whole answers, streams and errors that state exactly the usage a test dictates.

Shapes: OpenAI API reference, chat, completions and embeddings objects, read 2026-11.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.harness.behaviours import Answer, Stream

Json = Mapping[str, object]
CREATED_S = 1_760_000_000


def tokens(prompt: object, completion: object, *, cached: int | None = None, **more: object) -> dict[str, object]:
    """A usage object. Counts are passed as given, wrong types too; the total is stated where both are integers."""
    usage: dict[str, object] = {"prompt_tokens": prompt, "completion_tokens": completion}
    if isinstance(prompt, int) and isinstance(completion, int):
        usage["total_tokens"] = prompt + completion
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return usage | more


def tool_call(name: str, arguments: str, number: int = 0) -> dict[str, object]:
    """One call of a function tool, as it stands in a message or a delta."""
    called = {"name": name, "arguments": arguments}
    return {"index": number, "id": f"call_{number}", "type": "function", "function": called}


def chat(
    content: str | None = "Three coins.",
    usage: object = None,
    *,
    model: str = "m",
    finish: str = "stop",
    choices: int = 1,
    **message: object,
) -> Answer:
    """A whole chat completion; further fields go into the message (`tool_calls`, `reasoning_content`)."""
    said = {"role": "assistant", "content": content, **message}
    listed = [{"index": number, "message": said, "finish_reason": finish} for number in range(choices)]
    return _answer({"object": "chat.completion", "model": model, "choices": listed}, usage)


def completion(text: str = "Three coins.", usage: object = None, *, model: str = "m") -> Answer:
    """A whole legacy completion."""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
    return _answer({"object": "text_completion", "model": model, "choices": [choice]}, usage)


def embeddings(count: int = 1, usage: object = None, *, model: str = "m") -> Answer:
    """As many vectors of three numbers."""
    data = [{"object": "embedding", "index": number, "embedding": [0.25, 0.5, 0.75]} for number in range(count)]
    return _answer({"object": "list", "model": model, "data": data}, usage)


def failure(
    status: int, message: str = "the upstream says no", *, kind: str = "server_error", code: str | None = None
) -> Answer:
    """An error in OpenAI's shape with this status."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Answer(json.dumps({"error": error}).encode(), status)


def chat_stream(
    pieces: Sequence[str], usage: object = None, *, model: str = "m", finish: str | None = "stop"
) -> Stream:
    """A streamed chat completion that says these pieces, with its usage, if any, in an event of its own."""
    return delta_stream([{"content": piece} for piece in pieces], usage, model=model, finish=finish)


def delta_stream(
    deltas: Sequence[Json],
    usage: object = None,
    *,
    model: str = "m",
    usage_on: str = "own",
    finish: str | None = "stop",
    done: bool = True,
) -> Stream:
    """A streamed chat completion: a role event, one event a delta, the finish, the usage, `[DONE]`.

    `usage_on` is "own" for an event of its own, "finish" for the event that carries the finish reason. Without `finish`
    the stream stops after its deltas.
    """
    events = [chunk({"role": "assistant", "content": ""}, model=model)]
    events += [chunk(delta, model=model) for delta in deltas]
    if finish is not None:
        events.append(chunk({}, model=model, finish=finish, usage=usage if usage_on == "finish" else None))
        if usage is not None and usage_on == "own":
            events.append(chunk(None, model=model, usage=usage))
    return Stream((*events, event("[DONE]")) if done else tuple(events))


def completion_stream(pieces: Sequence[str], usage: object = None, *, model: str = "m") -> Stream:
    """A streamed legacy completion with its usage in an event of its own."""
    head = {"id": "cmpl-scripted", "object": "text_completion", "created": CREATED_S, "model": model}
    last = len(pieces) - 1
    events = [
        event(
            json.dumps(
                {**head, "choices": [{"index": 0, "text": piece, "finish_reason": "stop" if number == last else None}]}
            )
        )
        for number, piece in enumerate(pieces)
    ]
    if usage is not None:
        events.append(event(json.dumps({**head, "choices": [], "usage": usage})))
    return Stream((*events, event("[DONE]")))


def chunk(delta: Json | None, *, model: str = "m", finish: str | None = None, usage: object = None) -> bytes:
    """One event of a streamed chat completion; without a delta its list of choices is empty."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body: dict[str, object] = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": CREATED_S}
    body |= {"model": model, "choices": choices}
    if usage is not None:
        body["usage"] = usage
    return event(json.dumps(body))


def event(data: str) -> bytes:
    """One server-sent event with this data."""
    return f"data: {data}\n\n".encode()


def with_headers(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """The same answer with these response headers."""
    return replace(answer, headers=tuple(headers.items()))


def broken_off(stream: Stream, message: str) -> Stream:
    """The stream up to its finish, then an error object as an event, as providers that run full send it."""
    told = [one for one in stream.events if b'"finish_reason": null' in one]
    return replace(stream, events=(*told, event(json.dumps({"error": {"message": message, "type": "server_error"}}))))


def _answer(body: dict[str, object], usage: object) -> Answer:
    whole: dict[str, object] = {"id": "scripted", "created": CREATED_S, **body}
    if usage is not None:
        whole["usage"] = usage
    return Answer(json.dumps(whole).encode())
