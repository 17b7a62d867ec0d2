"""What a client asked for, read once: the few fields that a gateway decides by, and the rest as the bytes that came.

Bodies are JSON objects; their top-level fields are kept raw, so that replacing `model` touches nothing else.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from relay.errors import BadRequest
from relay.json_values import as_list, as_object

BYTES_PER_TOKEN = 3
TOKENS_PER_PART = {
    "image_url": 1105,
    "input_image": 1105,
    "image": 1105,
    "input_audio": 1500,
    "file": 8000,
    "video_url": 8000,
}
"""Input tokens held for a part that is not text, never by its base64 bytes: a high-detail image of four tiles, a minute
of audio, a file of some pages. The upstream's own count is what is charged."""
TOKENS_PER_MESSAGE = 6
MAX_CHOICES = 128
MAX_OUTPUT_TOKENS = 2**30 - 1
MAX_MODEL_NAME_BYTES = 255
MEDIA = (b'"image_url"', b'"input_audio"', b'"file"', b'"input_image"', b'"image"', b'"video_url"', b"\\u")

_fields = msgspec.json.Decoder(type=dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """One request, as its format has read it."""

    model: str
    stream: bool
    fields: dict[str, msgspec.Raw]
    body: bytes
    max_output: int | None
    """Output tokens that the client allows for one choice; None when it did not say."""
    choices: int
    input_bound: int
    """Tokens, estimated from above."""
    wants_usage: bool
    """The client asked for the usage of its stream."""


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of a JSON object. Raises BadRequest, in words that name the place."""
    try:
        body.decode()  # raw fields are not looked into, and go upstream as they are
        return _fields.decode(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except msgspec.ValidationError:
        raise BadRequest("the body must be a JSON object") from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None


def parsed(raw: bytes | msgspec.Raw) -> object:
    return _any.decode(raw)


def count_of(value: int | None, name: str, *, at_least: int = 0, at_most: int = MAX_OUTPUT_TOKENS) -> int | None:
    """A number within its bounds, or None. Raises BadRequest."""
    if value is not None and not at_least <= value <= at_most:
        raise BadRequest(f"{name} must be between {at_least} and {at_most}, got {value}", param=name)
    return value


def model_of(model: str) -> str:
    if not model:
        raise BadRequest("model is required: name the model to call", param="model")
    if len(model.encode()) > MAX_MODEL_NAME_BYTES:
        raise BadRequest(f"model is longer than {MAX_MODEL_NAME_BYTES} bytes", param="model")
    return model


def rewritten(asked: Asked, *, model: str, changes: Mapping[str, object] | None = None) -> bytes:
    """The body for upstream: the client's own bytes, unless a field has to differ.

    A body that names its model twice is written anew, so that upstream reads the name that was priced.
    """
    if model == asked.model and not changes and asked.body.count(b'"model"') == 1:
        return asked.body
    fields: dict[str, object] = {**asked.fields, "model": model}
    for name, value in (changes or {}).items():
        if value is msgspec.UNSET:
            fields.pop(name, None)
        else:
            fields[name] = value
    return _encode(fields)


def text_bound(*raws: msgspec.Raw | None) -> int:
    """Input tokens of prompts, estimated from above: text by its UTF-8 bytes, other parts by a fixed allowance."""
    bytes_of_text, tokens = 0, 0
    for raw in raws:
        if raw is None:
            continue
        data = bytes(raw)
        if any(mark in data for mark in MEDIA):
            try:
                more_bytes, more_tokens = _walk(parsed(data))
            except RecursionError:
                raise BadRequest("the body is nested too deeply") from None
            bytes_of_text += more_bytes
            tokens += more_tokens
        else:
            bytes_of_text += len(data)
    return tokens + -(-bytes_of_text // BYTES_PER_TOKEN)


def prompt_bound(prompt: str | list[object], raw: msgspec.Raw) -> int:
    """Input tokens of a text, texts, or token ids: ids are counted, texts bounded by their bytes. `raw` is the same as it came."""
    if isinstance(prompt, list):
        if all(isinstance(item, int) for item in prompt):
            return len(prompt)
        if all(isinstance(item, list) for item in prompt):
            return sum(len(as_list(item)) for item in prompt)
    return text_bound(raw)


def _walk(value: object) -> tuple[int, int]:
    """(bytes of text, tokens of other things) in a JSON value."""
    if isinstance(value, str):
        return len(value.encode()), 0
    if isinstance(value, list):
        pairs = [_walk(item) for item in as_list(value)]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    if isinstance(value, dict):
        fields = as_object(value)
        kind = fields.get("type")
        if isinstance(kind, str) and kind in TOKENS_PER_PART:
            return 0, TOKENS_PER_PART[kind]
        pairs = [_walk(item) for item in fields.values()]
        extra = TOKENS_PER_MESSAGE if "role" in fields else 0
        keys = sum(len(name) for name in fields)
        return keys + sum(pair[0] for pair in pairs), extra + sum(pair[1] for pair in pairs)
    return 1, 0
