"""What a call has used so far: upstream's own count when it states a believable one, ours when it does not.

In a stream it also says, event by event, what may go on to the client now and what waits for the settlement.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, Protocol

from domain.usage import AbsurdUsage, Usage
from relay import sse
from relay.asked import Asked
from relay.format import Format, Said

MAX_KEPT_TEXT_BYTES = 4 * 1024 * 1024
MAX_UNREAD_BYTES = 256 * 1024
ONE_TOKEN_CHARACTERS = 16
"""A piece of a stream that is no longer than a long word is one token: most providers send them one by one."""
ENVELOPE_BYTES = 250
"""Of one event, about what is not its text."""


class Counter(Protocol):
    """Counts tokens off the event loop."""

    async def prompt(self, model: str, prompt: object, tools: object) -> int: ...

    async def text(self, model: str, text: str) -> int: ...

    def close(self) -> None: ...


class Verdict(Enum):
    """What becomes of one event."""

    PASS = 1
    KEEP = 2
    """It waits, with all after it, until the charge is durable."""
    DROP = 3


class Measured(NamedTuple):
    """A usage and whose count it is: `upstream`, `counted` or `none`."""

    usage: Usage
    basis: str


class Meter:
    """Reads the events of one stream.

    Most chunks carry nothing but text: a few byte searches tell, and their events are parsed only if somebody has to know them
    closely (no usage from upstream, or a hold that is nearly used up).
    """

    __slots__ = (
        "_asked",
        "_closely",
        "_content",
        "_format",
        "_kept_bytes",
        "_last",
        "_pieces",
        "_unread_bytes",
        "done",
        "error",
        "finished",
        "output",
        "usage",
    )

    def __init__(self, format_: Format, asked: Asked) -> None:
        self._format = format_
        self._asked = asked
        self._pieces: list[bytes | str] = []
        """In their order: texts, and chunks whose texts nobody has asked for."""
        self._kept_bytes = 0
        self._unread_bytes = 0
        self._closely = False
        self._content = False
        self._last = b""
        self.output = 0
        """Output tokens so far, estimated from the text."""
        self.usage: dict[str, object] | None = None
        self.finished = False
        self.done = False
        self.error = False

    def passes_whole(self, chunk: bytes, at_most: int | None = None) -> bool:
        """True when a chunk of whole events has only text in it, and may go on unread. Then it is counted roughly.

        Not where the output would come to more than `at_most` tokens with it.
        """
        if self._closely or self.finished or self.done or not chunk.endswith(b"\n\n") or not _only_text(chunk):
            return False
        output = self.output + _roughly(chunk)
        if at_most is not None and output > at_most:
            return False
        self.output = output
        self._pieces.append(chunk)
        self._unread_bytes += len(chunk)
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self._catch_up()
        return True

    def look_closely(self) -> int:
        """From now on every event is parsed. The output so far, counted by its text."""
        if not self._closely:
            self._closely = True
            self._catch_up()
        return self.output

    def _catch_up(self) -> None:
        """Parse what went on unread, and count it by its text instead of by its size."""
        if not self._unread_bytes:
            return
        pieces, self._pieces, self._unread_bytes, self._kept_bytes = self._pieces, [], 0, 0
        for piece in pieces:
            if isinstance(piece, str):
                self._keep(piece)
                continue
            self.output -= _roughly(piece)
            events = piece.split(b"\n\n")[:-1]
            for event in events:
                self._note(self._format.read_event(sse.data_of(event + b"\n\n")))
            self._last = self._last or sse.data_of(events[-1] + b"\n\n")

    def read(self, event: bytes) -> Verdict:
        """Parse one event and say what becomes of it."""
        data = sse.data_of(event)
        said = self._format.read_event(data)
        if said.done:
            self.done = True
            return Verdict.KEEP
        if said.usage is not None:
            self.usage = dict(said.usage)
        if said.only_usage:
            return Verdict.KEEP if self._asked.wants_usage else Verdict.DROP
        self._note(said)
        if said.error:
            self.error = True
        if said.finish:
            self.finished = True
        if data:
            self._last = data
        return Verdict.KEEP if self.finished else Verdict.PASS

    def _note(self, said: Said) -> None:
        self._content = self._content or said.content
        if said.text:
            self.output += tokens_in(said.text)
            self._keep(said.text)

    def _keep(self, text: str) -> None:
        if self._kept_bytes < MAX_KEPT_TEXT_BYTES:
            self._pieces.append(text)
            self._kept_bytes += len(text)

    def has_content(self) -> bool:
        """Whether anything came that a client would call an answer."""
        if not self._content:
            self._catch_up()
        return self._content

    def last(self) -> bytes:
        """The data of the last event that was passed on: what our own events take their id from."""
        self._catch_up()
        return self._last

    def text(self) -> str:
        """Everything that was said, in order, as far as it is kept."""
        self._catch_up()
        return "".join(piece for piece in self._pieces if isinstance(piece, str))

    async def measure(self, counter: Counter, model: str, *, whole: bool) -> Measured:
        """The usage to charge. `whole`: upstream ended the answer, so that its own count is of all of it."""
        if self.usage is not None and (whole or self.finished):
            stated = believable(self.usage)
            if stated is not None and not (stated.is_empty and self.has_content()):
                return Measured(stated, "upstream")
        return await counted(counter, self._format, self._asked, model, self.text())


def _roughly(chunk: bytes) -> int:
    """Output tokens of a chunk by its size: at least one for each event."""
    events = chunk.count(b"\n\n")
    return max(events, (len(chunk) - events * ENVELOPE_BYTES) // 4)


def _only_text(chunk: bytes) -> bool:
    """No event here that finishes, states usage, fails or ends the stream. What is not sure is parsed."""
    return (
        chunk.count(b'"finish_reason"') == chunk.count(b'"finish_reason":null')
        and chunk.count(b'"usage"') == chunk.count(b'"usage":null')
        and b"[DONE]" not in chunk
        and b'"error"' not in chunk
        and b"\r" not in chunk
    )


async def counted(counter: Counter, format_: Format, asked: Asked, model: str, text: str) -> Measured:
    """Our own count of a prompt and of what was produced."""
    tokens = await counter.prompt(model, format_.prompt_of(asked), format_.tools_of(asked))
    output = await counter.text(model, text) if text else 0
    return Measured(Usage(input=tokens, output=output), "counted")


def believable(stated: Mapping[str, object]) -> Usage | None:
    """Upstream numbers are data from a stranger: absurd ones are not used at all."""
    try:
        return Usage.from_openai(stated)
    except AbsurdUsage:
        return None


def tokens_in(text: str) -> int:
    """About how many tokens a piece of a stream has: pieces are mostly single tokens, and other scripts about one a character."""
    size = len(text)
    if size <= ONE_TOKEN_CHARACTERS:
        return 1 if text.isascii() else max(1, size * 2 // 3)
    return size // 4 if text.isascii() else size
