"""Facts to stored bytes and back. The bytes of a fact are the same wherever it is stored, and are never rewritten.

JSON, so that people can read the table; struct fields in their declared order, defaults left out. The stream, the version
and the topic are columns, not part of the bytes.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from domain.events import TOPICS, Fact
from domain.streams import StreamId
from ledger.errors import UnknownFact

encode: Callable[[Fact], bytes] = msgspec.json.Encoder().encode
_decoders: dict[str, msgspec.json.Decoder[Fact]] = {
    topic: msgspec.json.Decoder(type=fact) for topic, fact in TOPICS.items()
}


class Recorded(NamedTuple):
    """A fact at its place in the log. `position` orders the whole ledger and may have gaps."""

    position: int
    stream: StreamId
    version: int
    fact: Fact


def decode(topic: str, state: bytes) -> Fact:
    """Raises UnknownFact for a topic or bytes that this version cannot read."""
    decoder = _decoders.get(topic)
    if decoder is None:
        raise UnknownFact(f"this version does not know the fact {topic!r}; upgrade before reading this ledger")
    try:
        return decoder.decode(state)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnknownFact(f"a stored {topic} does not have its shape: {error}") from error
