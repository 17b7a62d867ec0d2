"""What a client asked for, read once: the few fields that a gateway decides by, and the rest as the bytes that came.

Bodies are JSON objects; their top-level fields are kept raw, so that replacing `model` touches nothing else.
"""

from collections.abc import Mapping

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
MEDIA = tuple(f'"{kind}"'.encode() for kind in TOKENS_PER_PART)
"""How a part that is not text says so, in its `type`."""
NAMES_TYPE = b'type"'
NAMES_MODEL = b'odel"'
"""The end of a field's name. Python finds five bytes in a large body several times as fast as the whole name; what else ends so is
looked at more closely than it need be."""
FOUND_BY_BYTES = 24
"""A field that is known is found by its beginning, and then compared."""
ESCAPE = b"\\u"
"""What is written so has more bytes than it has text, and may hide a name."""

_fields = msgspec.json.Decoder(type=dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class Asked:
    """One request, as its format has read it."""

    __slots__ = (
        *("_fields", "body", "choices", "input_bound", "is_escaped", "large", "max_output"),
        *("model", "stream", "wants_usage"),
    )

    def __init__(
        self,
        *,
        model: str,
        body: bytes,
        stream: bool = False,
        max_output: int | None = None,
        choices: int = 1,
        input_bound: int = 0,
        wants_usage: bool = False,
        large: bytes = b"",
        escaped: bool | None = None,
    ) -> None:
        """`escaped`: what `is_escaped` says of the body, where somebody has asked already."""
        self.model = model
        self.body = body
        self.is_escaped = is_escaped(body) if escaped is None else escaped
        """Something in it is written as \\u: what is looked for in the bytes may not be found there."""
        self.large = large
        """A field as it stands in the body, a list or an object: most of the body, where that is known."""
        self.stream = stream
        self.max_output = max_output
        """Output tokens that the client allows for one choice; None when it did not say."""
        self.choices = choices
        self.input_bound = input_bound
        """Tokens, estimated from above."""
        self.wants_usage = wants_usage
        """The client asked for the usage of its stream."""
        self._fields: dict[str, msgspec.Raw] | None = None

    @property
    def fields(self) -> dict[str, msgspec.Raw]:
        """The top-level fields as they came: most calls go on without anybody looking at them."""
        found = self._fields
        if found is None:
            found = self._fields = fields_of(self.body)
        return found


def _names_model_once(asked: Asked) -> bool:
    """Looked for beside the largest field: whatever stands in there is no field of the body."""
    body, large = asked.body, asked.large
    start = body.find(large[:FOUND_BY_BYTES])
    if not large or not body.startswith(large, start):
        return body.count(NAMES_MODEL) == 1
    return body.count(NAMES_MODEL, 0, start) + body.count(NAMES_MODEL, start + len(large)) == 1


def is_escaped(body: bytes) -> bool:
    """Whether JSON has an escape in it that may stand for any character. One character is found many times as fast as two."""
    first = body.find(b"\\")
    return first >= 0 and body.find(ESCAPE, first) >= 0


def check_text(body: bytes) -> None:
    """What its format does not look into goes upstream as it is, so all of it is checked to be text. Raises BadRequest."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of a JSON object. Raises BadRequest, in words that name the place."""
    try:
        return _fields.decode(body)
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
    if model == asked.model and not changes and not asked.is_escaped and _names_model_once(asked):
        return asked.body
    fields: dict[str, object] = {**asked.fields, "model": model}
    for name, value in (changes or {}).items():
        if value is msgspec.UNSET:
            fields.pop(name, None)
        else:
            fields[name] = value
    return _encode(fields)


def text_bound(*fields: bytes | msgspec.Raw, escaped: bool = True) -> int:
    """Input tokens of prompts, estimated from above: text by its UTF-8 bytes, other parts by a fixed allowance.

    `escaped`: what `is_escaped` says of the body that they stand in.
    """
    bytes_of_text, tokens = 0, 0
    for field in fields:
        data = bytes(field)
        if not data:
            continue
        if (escaped and is_escaped(data)) or _may_have_parts(data):
            try:
                more_bytes, more_tokens = _walk(parsed(data))
            except RecursionError:
                raise BadRequest("the body is nested too deeply") from None
            bytes_of_text += more_bytes
            tokens += more_tokens
        else:
            bytes_of_text += len(data)
    return tokens + -(-bytes_of_text // BYTES_PER_TOKEN)


def _may_have_parts(data: bytes) -> bool:
    """Whether a list of messages may have parts that are not text: those stand in lists within it, and name their type."""
    return data.find(b"[", 1) >= 0 and NAMES_TYPE in data and any(mark in data for mark in MEDIA)


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
