"""The sandbox: a provider inside the gateway, for trying clients without spending. The same request gets the same answer.

Its text means nothing. Every word of it is exactly one token of o200k_base (and of cl100k_base), so the counts it states are
real without an encoding being loaded; its prompts are counted like any other. It is never chosen unless a channel of its type
exists.
"""

import asyncio
import math
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from hashlib import sha256
from struct import pack, unpack
from time import time
from typing import Final, NamedTuple, cast

import msgspec

from relay.meter import Counter
from relay.tokens import Counter as OwnCounter
from relay.upstream import AnswerTooLarge, Tap

MIN_TOKENS: Final = 40
MAX_TOKENS: Final = 120
"""Of one choice, unless the client asks for fewer. A sentence is finished within them."""
MAX_SENTENCE_TOKENS: Final = 11
MAX_CHOICES: Final = 128
MAX_INPUTS: Final = 2048
"""Of one embeddings request, as at OpenAI."""
DIMENSIONS: Final = 256

VOCABULARY: Final = """
determiners: the a each every one this that another our some
adjectives: quiet small bright old new warm cold clear deep simple careful honest patient gentle green blue golden silver
    distant narrow broad early late steady curious modest plain rare sharp soft strong swift tall thin wide wise young calm
    fair
nouns: river ledger bridge garden window letter market mountain harbor lantern teacher sailor engine signal number balance
    account story village forest island station library compass clock mirror record paper table stone cloud storm shadow field
    road train ship captain doctor farmer painter writer baker singer coin bank page book map key door lamp song bird horse
    tree leaf seed root wheel tower wall house room kitchen school street city valley lake ocean beach moon star morning
    evening winter summer journey answer question reason promise secret
verbs: carries counts holds opens closes follows finds keeps leaves meets moves needs offers passes reads remembers returns
    sees sends shows tells turns waits watches writes answers asks builds calls changes draws explains feeds guards hears helps
    joins knows learns measures names paints pays pulls pushes reaches records repeats saves serves settles shares signs
    starts stops studies takes teaches touches trusts wants warns
prepositions: near beside behind under above before after beyond across through without with from for inside toward against
"""


def _words_of(vocabulary: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for part in vocabulary.replace("\n    ", " ").strip().splitlines():
        kind, _, words = part.partition(":")
        yield kind, tuple(words.split())


WORDS: Final = dict(_words_of(VOCABULARY))


class SandboxAnswer:
    """An answer with the manners of an upstream's: its head is there, its body comes at a pace."""

    def __init__(
        self, steps: Iterator["_Step"], *, content_type: str, seed: bytes, tokens_per_s: float, status: int = 200
    ):
        self.status = status
        self.headers: dict[str, str] = {"content-type": content_type, "x-request-id": f"sandbox-{seed.hex()[:24]}"}
        self._steps = steps
        self._next: _Step | None = None
        self._seconds_per_token = 1 / tokens_per_s
        self._started_s = asyncio.get_running_loop().time()

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises AnswerTooLarge."""
        body = b""
        async for chunk in self.chunks():
            body += chunk
            if len(body) > limit_bytes:
                raise AnswerTooLarge(f"an answer of more than {limit_bytes} bytes")
        return body

    async def read_some(self, tap: Tap | None = None) -> bytes:
        """The next bytes when their time has come, b"" at the end. A call that is cancelled loses nothing."""
        step = self._next = self._next or next(self._steps, None)
        if step is None:
            return b""
        due_s = self._started_s + step.tokens * self._seconds_per_token
        await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
        self._next = None
        return step.chunk

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes: one server-sent event at a time in a stream, else all of it at once."""
        while chunk := await self.read_some():
            yield chunk

    def close(self) -> None:
        """Nothing more comes. May be called twice."""
        self._steps, self._next = iter(()), None


async def answer(
    body: Mapping[str, object],
    *,
    endpoint: str,
    stream: bool,
    model: str,
    tokens_per_s: float,
    counter: Counter | None = None,
) -> SandboxAnswer:
    """Answer a request of OpenAI's API. `endpoint` is `chat`, `completions` or `embeddings`, `body` decoded JSON; of it the
    prompt, `seed`, `n`, the token limits, `stream_options`, and for embeddings `encoding_format` count.

    Output has 40 to 120 tokens a choice (`finish_reason` stop), fewer where the client allows fewer (length). An embedding is
    a unit vector of 256 numbers, made of its input.
    """
    asked = _asked(body, endpoint, model)
    prompt = body.get(_PROMPTS[asked.endpoint])
    prompt_tokens = await (counter or _counter()).prompt(model, prompt, body.get("tools"))
    if asked.endpoint == "embeddings":
        return await _embeddings(asked, prompt, prompt_tokens, tokens_per_s)
    steps = _streamed(asked, prompt_tokens) if stream else _whole(asked, prompt_tokens)
    content_type = "text/event-stream" if stream else "application/json"
    return SandboxAnswer(steps, content_type=content_type, seed=asked.seed, tokens_per_s=tokens_per_s)


_PROMPTS: Final = {"chat": "messages", "completions": "prompt", "embeddings": "input"}


class _Step(NamedTuple):
    """Bytes to send once `tokens` were produced."""

    tokens: int
    chunk: bytes


class _Asked(NamedTuple):
    endpoint: str
    model: str
    seed: bytes
    id: str
    choices: int
    limit: int | None
    wants_usage: bool
    as_base64: bool
    created_s: int


def _asked(body: Mapping[str, object], endpoint: str, model: str) -> _Asked:
    parts = {"endpoint": endpoint, "model": model, "prompt": body.get(_PROMPTS[endpoint]), "seed": body.get("seed")}
    seed = sha256(msgspec.json.encode(parts, order="sorted")).digest()
    limit = _count(body.get("max_completion_tokens"))
    options = body.get("stream_options")
    return _Asked(
        endpoint,
        model,
        seed,
        f"{'chatcmpl' if endpoint == 'chat' else 'cmpl'}-{seed.hex()[:24]}",
        choices=min(MAX_CHOICES, max(1, _count(body.get("n")) or 1)),
        limit=limit if limit is not None else _count(body.get("max_tokens")),
        wants_usage=isinstance(options, dict) and cast("dict[str, object]", options).get("include_usage") is True,
        as_base64=body.get("encoding_format") == "base64",
        created_s=int(time()),
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


class _Chance:
    """Numbers that follow from a seed, the same on every machine and in every version of Python."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._round = 0
        self._bytes: Iterator[int] = iter(())

    def below(self, limit: int) -> int:
        """A number from 0 to limit - 1; the limit is small."""
        return (self._byte() << 8 | self._byte()) % limit

    def of(self, kind: str) -> str:
        """A word of a kind, with the space before it that belongs to its token."""
        choices = WORDS[kind]
        return f" {choices[self.below(len(choices))]}"

    def _byte(self) -> int:
        found = next(self._bytes, None)
        if found is not None:
            return found
        self._bytes = iter(sha256(self._seed + self._round.to_bytes(8)).digest())
        self._round += 1
        return next(self._bytes)


def words(seed: bytes) -> list[str]:
    """The text that follows from a seed, a token an item: sentences of together 40 to 120 tokens."""
    chance = _Chance(seed)
    target = MIN_TOKENS + chance.below(MAX_TOKENS - MAX_SENTENCE_TOKENS - MIN_TOKENS + 1)
    said: list[str] = []
    while len(said) < target:
        said += _sentence(chance)
    said[0] = said[0].removeprefix(" ")
    return said


def _sentence(chance: _Chance) -> list[str]:
    """At most MAX_SENTENCE_TOKENS tokens."""
    said = [
        _capital(chance.of("determiners")),
        *_thing(chance),
        chance.of("verbs"),
        chance.of("determiners"),
        *_thing(chance),
    ]
    if chance.below(2):
        said += [chance.of("prepositions"), chance.of("determiners"), chance.of("nouns")]
    return [*said, "."]


def _thing(chance: _Chance) -> list[str]:
    return [*([chance.of("adjectives")] if chance.below(2) else []), chance.of("nouns")]


def _capital(word: str) -> str:
    return " " + word.removeprefix(" ").capitalize()


def _choice(asked: _Asked, index: int) -> tuple[list[str], str]:
    """The tokens of one choice within the client's limit, and the finish reason."""
    said = words(sha256(asked.seed + index.to_bytes(2)).digest())
    if asked.limit is not None and asked.limit < len(said):
        return said[: asked.limit], "length"
    return said, "stop"


def _streamed(asked: _Asked, prompt_tokens: int) -> Iterator[_Step]:
    is_chat = asked.endpoint == "chat"
    produced = 0
    for index in range(asked.choices):
        said, finish = _choice(asked, index)
        if is_chat:
            yield _Step(produced, _event(asked, index, {"role": "assistant", "content": ""}))
        for word in said:
            produced += 1
            yield _Step(produced, _event(asked, index, {"content": word} if is_chat else word))
        yield _Step(produced, _event(asked, index, {} if is_chat else "", finish))
    if asked.wants_usage:
        no_choices: list[object] = []
        usage = {**_head(asked, chunk=True), "choices": no_choices, "usage": _usage(prompt_tokens, produced)}
        yield _Step(produced, _sse(usage))
    yield _Step(produced, b"data: [DONE]\n\n")


def _event(asked: _Asked, index: int, said: dict[str, str] | str, finish: str | None = None) -> bytes:
    part = {"delta": said} if asked.endpoint == "chat" else {"text": said}
    choice = {"index": index, **part, "logprobs": None, "finish_reason": finish}
    nothing_yet = {"usage": None} if asked.wants_usage else {}
    return _sse({**_head(asked, chunk=True), "choices": [choice], **nothing_yet})


def _whole(asked: _Asked, prompt_tokens: int) -> Iterator[_Step]:
    choices: list[dict[str, object]] = []
    produced = 0
    for index in range(asked.choices):
        said, finish = _choice(asked, index)
        produced += len(said)
        text = "".join(said)
        part = {"message": {"role": "assistant", "content": text}} if asked.endpoint == "chat" else {"text": text}
        choices.append({"index": index, **part, "logprobs": None, "finish_reason": finish})
    body = {**_head(asked, chunk=False), "choices": choices, "usage": _usage(prompt_tokens, produced)}
    yield _Step(produced, msgspec.json.encode(body))


def _head(asked: _Asked, *, chunk: bool) -> dict[str, object]:
    kind = "text_completion" if asked.endpoint == "completions" else f"chat.completion{'.chunk' * chunk}"
    return {"id": asked.id, "object": kind, "created": asked.created_s, "model": asked.model}


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


def _sse(event: Mapping[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


async def _embeddings(asked: _Asked, prompt: object, prompt_tokens: int, tokens_per_s: float) -> SandboxAnswer:
    inputs = _inputs(prompt)
    if len(inputs) > MAX_INPUTS:
        said = {
            "message": f"at most {MAX_INPUTS} inputs, got {len(inputs)}",
            "type": "invalid_request_error",
            "param": "input",
        }
        body, status = msgspec.json.encode({"error": {**said, "code": None}}), 400
    else:
        # Two thousand vectors take a while: they are made beside the event loop.
        body, status = await asyncio.to_thread(_embedded, asked, inputs, prompt_tokens), 200
    steps = iter((_Step(0, body),))
    return SandboxAnswer(
        steps, content_type="application/json", seed=asked.seed, tokens_per_s=tokens_per_s, status=status
    )


def _inputs(prompt: object) -> list[object]:
    """A text is one input, and so are token ids; a list of either is many."""
    if isinstance(prompt, list) and not any(type(item) is int for item in cast("list[object]", prompt)):
        return cast("list[object]", prompt)
    return [prompt]


def _embedded(asked: _Asked, inputs: list[object], prompt_tokens: int) -> bytes:
    data: list[dict[str, object]] = []
    for index, each in enumerate(inputs):
        vector = unit_vector(msgspec.json.encode(each))
        packed = b64encode(pack(f"<{DIMENSIONS}f", *vector)).decode() if asked.as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": packed})
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": asked.model, "usage": usage})


def unit_vector(of: bytes) -> list[float]:
    """256 numbers of length 1 that follow from these bytes."""
    digests = b"".join(sha256(of + part.to_bytes(2)).digest() for part in range(DIMENSIONS // 8))
    numbers = [float(number) for number in unpack(f"<{DIMENSIONS}i", digests)]
    length = math.sqrt(math.fsum(number * number for number in numbers))
    return [number / length for number in numbers]


@cache
def _counter() -> OwnCounter:
    """Shared by all calls of the process."""
    return OwnCounter()
