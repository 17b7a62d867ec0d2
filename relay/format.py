"""What the relay needs to know of a wire language. A format reads; it never decides what happens to a call."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

from domain.usage import Usage
from relay.asked import Asked

Endpoint = Literal["chat", "completions", "embeddings"]


class Said(NamedTuple):
    """What one event of a stream says."""

    text: str = ""
    """Content, reasoning and tool arguments: what is counted when upstream states no usage."""
    content: bool = False
    """Something that a client would call an answer."""
    finish: bool = False
    """The answer ends with this event: it waits for the settlement."""
    usage: Mapping[str, object] | None = None
    only_usage: bool = False
    """It carries usage and nothing else: withheld when the client did not ask for it."""
    error: bool = False
    done: bool = False


class Answered(msgspec.Struct, frozen=True):
    """What an answer that was not streamed says."""

    usage: Mapping[str, object] | None = None
    is_empty: bool = False
    """No content, no tool call, no reasoning."""
    is_error: bool = False
    """An error object instead of an answer."""


class Format(Protocol):
    """One endpoint's wire language."""

    name: Endpoint
    path: str
    """Below the base URL's `/v1`."""
    free_when_empty: bool
    """Whether an answer without content is free. Embeddings have no content and are not."""

    def read(self, body: bytes) -> Asked:
        """Raises BadRequest."""
        ...

    def upstream_body(
        self, asked: Asked, *, model: str, stream: bool, ask_for_usage: bool, override: Mapping[str, object]
    ) -> bytes: ...

    def read_answer(self, body: bytes) -> Answered | None:
        """None when the body is not an answer of this format at all."""
        ...

    def text_of(self, body: bytes) -> str:
        """What an answer says, for counting."""
        ...

    def read_event(self, data: bytes) -> Said: ...

    def prompt_of(self, asked: Asked) -> object:
        """The prompt as decoded JSON, for counting."""
        ...

    def tools_of(self, asked: Asked) -> object: ...

    def closing(self, asked: Asked, call_id: str, *, like: bytes) -> bytes:
        """An event that ends a stream politely, with `finish_reason: length`. `like`: the data of an event before it, or b""."""
        ...

    def usage_event(self, asked: Asked, call_id: str, usage: Usage, *, like: bytes) -> bytes: ...

    def stream_of(self, body: bytes, *, with_usage: bool) -> bytes:
        """A whole answer told as a stream."""
        ...
