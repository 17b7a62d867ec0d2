"""What the OpenAI endpoints share on the wire: stream options, chunks, and a loose reading of what does not keep to the form."""

from collections.abc import Mapping
from time import time
from typing import TypeVar

import msgspec

from domain.usage import Usage
from relay.asked import Asked
from relay.errors import BadRequest
from relay.format import Answered, Said
from relay.json_values import as_list, as_object

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_any = msgspec.json.Decoder()
MAX_DEPTH = 64


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


def checked(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """Decode a request's typed fields. Raises BadRequest with the field that is not what it should be."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        param = where.rstrip("`").lstrip(".")
        missing = what.removeprefix("Object missing required field ").strip("`")
        if missing != what:
            raise BadRequest(f"field {missing} is required", param=missing) from None
        raise BadRequest(f"{param or 'the body'}: {what[0].lower()}{what[1:]}", param=param) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None


def stream_changes(asked: Asked, *, stream: bool, ask_for_usage: bool) -> dict[str, object]:
    """What has to differ in the body so that upstream streams as we need it to."""
    changes: dict[str, object] = {}
    if stream != asked.stream:
        changes["stream"] = stream
        if not stream and "stream_options" in asked.fields:
            changes["stream_options"] = msgspec.UNSET
    if stream and ask_for_usage and not asked.wants_usage:
        kept = asked.fields.get("stream_options")
        options = as_object(_any.decode(kept)) if kept is not None else {}
        changes["stream_options"] = {**options, "include_usage": True}
    return changes


def json_object(body: bytes) -> dict[str, object]:
    """The object that a body is; an empty one when it is none."""
    try:
        return as_object(_any.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return {}


def objects(value: object) -> list[dict[str, object]]:
    return [as_object(item) for item in as_list(value) if isinstance(item, dict)]


def answered_loosely(body: bytes) -> Answered | None:
    """An answer whose fields are not typed as they should be; None when it is no JSON object at all."""
    answer = json_object(body)
    if not answer:
        return None
    stated = as_object(answer.get("usage")) or None
    if "choices" not in answer and "data" not in answer:
        return Answered(usage=stated, is_error=True) if answer.get("error") is not None else None
    return Answered(usage=stated, is_empty=not strings_in(answer.get("choices")).strip())


def said_loosely(data: bytes) -> Said:
    """An event that is not typed as it should be: passed on, and counted by its text."""
    chunk = json_object(data)
    if not chunk:
        return Said()
    usage = as_object(chunk.get("usage")) or None
    text = strings_in([choice.get("delta", choice.get("text")) for choice in objects(chunk.get("choices"))])
    finish = [choice.get("finish_reason") for choice in objects(chunk.get("choices"))]
    return Said(
        text,
        bool(text.strip()),
        bool(finish) and all(reason is not None for reason in finish),
        usage,
        only_usage=usage is not None and not chunk.get("choices"),
        error=chunk.get("error") is not None and not chunk.get("choices"),
    )


def all_text(body: bytes) -> str:
    return strings_in(json_object(body).get("choices"))


def strings_in(value: object, depth: int = 0) -> str:
    """Every text inside a JSON value, joined; roles, types and ids are few and short."""
    if isinstance(value, str):
        return value
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "".join(strings_in(item, depth + 1) for item in as_list(value))
    if isinstance(value, dict):
        fields = as_object(value)
        return "".join(strings_in(item, depth + 1) for name, item in fields.items() if name not in NOT_CONTENT)
    return ""


NOT_CONTENT = frozenset({"role", "type", "id", "index", "finish_reason", "logprobs", "object"})


def text_of_parts(parts: list[object]) -> str:
    return strings_in(parts)


def text_of_tool_call(raw: msgspec.Raw) -> str:
    call = json_object(bytes(raw))
    source = as_object(call.get("function")) or call
    name, arguments = source.get("name"), source.get("arguments")
    return (name if isinstance(name, str) else "") + (arguments if isinstance(arguments, str) else "")


def chunk(
    like: bytes,
    model: str,
    call_id: str,
    prefix: str,
    kind: str,
    choices: list[dict[str, object]],
    usage: Usage | None = None,
) -> bytes:
    """A chunk of our own in a stream of theirs: the id, time and model of an event before it, where there is one."""
    before = json_object(like) if like else {}
    made: dict[str, object] = {
        "id": before.get("id") or prefix + call_id,
        "object": kind,
        "created": before.get("created") or int(time()),
        "model": before.get("model") or model,
        "choices": choices,
    }
    if usage is not None:
        made["usage"] = usage_object(usage)
    return _encode(made)


def like_answer(
    answer: Mapping[str, object], kind: str, choices: list[dict[str, object]], usage: object = None
) -> bytes:
    made = {name: value for name, value in answer.items() if name not in ("choices", "usage", "object")}
    made |= {"object": kind, "choices": choices}
    if usage is not None:
        made["usage"] = usage
    return _encode(made)


def usage_object(usage: Usage) -> dict[str, object]:
    """A usage in OpenAI's words."""
    prompt = usage.input + usage.cached_input + usage.audio_input + usage.image_input
    completion = usage.output + usage.reasoning + usage.audio_output + usage.image_output
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
