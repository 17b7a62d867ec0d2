"""How many tokens a text is, counted offline and off the event loop: the rank files come from an installed package, never the network.

Counting is for calls whose upstream stated no usage. An encoding takes some 70 MB and is loaded when it is first needed.
"""

import asyncio
import gzip
import hashlib
import logging
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files
from types import FunctionType
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec

if TYPE_CHECKING:
    from tiktoken import Encoding

MAX_COUNTED_BYTES: Final = 4 * 1024 * 1024
"""Of one text, or of one prompt with all its parts. What is beyond is taken at BYTES_PER_TOKEN."""
BYTES_PER_TOKEN: Final = 4
SLICE_CHARACTERS: Final = 64 * 1024
"""Of one call into the encoder, whose pattern matcher gives up on runs of some million characters."""
WAITING_LIMIT: Final = 1024

RANK_PACKAGE: Final = "bpe-openai"
RANK_SHA256: Final = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
"""Of the unpacked rank files, as tiktoken itself expects them (tiktoken_ext.openai_public, tiktoken 0.14)."""

O200K_MODELS: Final = ("gpt-4o", "chatgpt-4o", "o1", "o3", "o4", "gpt-4.1", "gpt-4.5", "gpt-5", "sandbox")
"""By how their names begin. OpenAI's own since gpt-4o, and our sandbox, whose words are o200k tokens."""

TOKENS_PER_MESSAGE: Final = 3
TOKENS_PER_NAME: Final = 1
TOKENS_PER_PROMPT: Final = 3
TOKENS_PER_TOOL: Final = 8
IMAGE_TOKENS: Final = 765
LOW_DETAIL_IMAGE_TOKENS: Final = 85
TOKENS_PER_PART: Final = {
    "image_url": IMAGE_TOKENS,
    "input_image": IMAGE_TOKENS,
    "image": IMAGE_TOKENS,
    "input_audio": 100,
    "file": 5000,
    "video_url": 5000,
}
"""Parts that are not text cost a fixed count, whatever their size (Veloera 8117f302; 765 is four tiles of high detail)."""


Count = Callable[[str], int]
"""Tokens of a text."""

log = logging.getLogger(__name__)


class MissingRanks(Exception):
    """The rank file of an encoding is not installed, or is not the one that it should be."""


def encoding_name(model: str) -> str:
    """`o200k_base` for models that are known to use it, else `cl100k_base`, for strangers too."""
    return "o200k_base" if model.startswith(O200K_MODELS) else "cl100k_base"


def count_text(model: str, text: str) -> int:
    """Tokens of a text. Blocking, up to a second for a text at the limit.

    Raises:
        MissingRanks: the rank file is not there.
    """
    return _counting(model)(text)


def estimate_text(text: str) -> int:
    """About the tokens of a text, from its size alone."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def count_chat_prompt(model: str, messages: object, tools: object = None) -> int:
    """Input tokens of a chat: 3 a message with its role, name and content, 3 at the end, 8 and its JSON a tool.

    `messages` and `tools` are decoded JSON from a client: what has another shape than the API's counts nothing.
    Source: OpenAI cookbook, "How to count tokens with tiktoken", read 2026-11; parts and tools as in Veloera 8117f302.
    """
    return _chat_prompt(_counting(model), messages, tools)


def count_prompt(model: str, prompt: object) -> int:
    """Input tokens of a completion or an embedding: a text, token ids, or a list of either. Decoded JSON, as above."""
    return _prompt(_counting(model), prompt, None)


class Counter:
    """Counts in one thread of its own, so that a long prompt never holds up the event loop.

    A count always comes: when more than `waiting_limit` wait, or the ranks are missing, it is an estimate by size, so that
    every call can be settled.
    """

    def __init__(self, *, waiting_limit: int = WAITING_LIMIT) -> None:
        self.waiting_limit = waiting_limit
        self.waiting = 0
        self.estimated = 0
        """How many counts were estimates."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="token-counter")

    async def text(self, model: str, text: str) -> int:
        """As `count_text`."""
        return await self._run(lambda count: count(text), model) if text else 0

    async def prompt(self, model: str, prompt: object, tools: object = None) -> int:
        """As `count_chat_prompt` where the prompt is messages, else as `count_prompt`. Both are decoded JSON."""
        work = _chat_prompt if next(_objects(prompt), None) is not None else _prompt
        return await self._run(lambda count: work(count, prompt, tools), model)

    def close(self) -> None:
        """Counts that have not begun are cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[Count], int], model: str) -> int:
        if self.waiting >= self.waiting_limit:
            self.estimated += 1
            return work(estimate_text)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._counted, work, model)
        finally:
            self.waiting -= 1

    def _counted(self, work: Callable[[Count], int], model: str) -> int:
        try:
            return work(_counting(model))
        except MissingRanks as error:
            log.warning("tokens are estimated, not counted", extra={"model": model, "why": str(error)})
            self.estimated += 1
            return work(estimate_text)


class _Part(NamedTuple):
    """What a message is made of: a text to count, or a fixed number of tokens."""

    text: str = ""
    tokens: int = 0


def _chat_prompt(count: Count, messages: object, tools: object) -> int:
    total = TOKENS_PER_PROMPT
    for message in _objects(messages):
        total += TOKENS_PER_MESSAGE
        for part in _parts(message):
            total += part.tokens + (count(part.text) if part.text else 0)
    for tool in _objects(tools):
        total += TOKENS_PER_TOOL + count(msgspec.json.encode(tool).decode())
    return total


def _parts(message: dict[str, object]) -> Iterator[_Part]:
    for name in ("role", "name"):
        value = message.get(name)
        if isinstance(value, str) and value:
            yield _Part(value, TOKENS_PER_NAME if name == "name" else 0)
    content = message.get("content")
    if isinstance(content, str):
        yield _Part(content)
    for part in _objects(content):
        yield _content_part(part)
    for call in _objects(message.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, dict):
            said = cast("dict[str, object]", function)
            yield from (_Part(text) for text in (said.get("name"), said.get("arguments")) if isinstance(text, str))


def _content_part(part: dict[str, object]) -> _Part:
    text, kind = part.get("text"), part.get("type")
    if isinstance(text, str):
        return _Part(text)
    tokens = TOKENS_PER_PART.get(kind, 0) if isinstance(kind, str) else 0
    image = part.get("image_url")
    if tokens == IMAGE_TOKENS and isinstance(image, dict) and cast("dict[str, object]", image).get("detail") == "low":
        tokens = LOW_DETAIL_IMAGE_TOKENS
    return _Part(tokens=tokens)


def _prompt(count: Count, prompt: object, _tools: object) -> int:
    if isinstance(prompt, str):
        return count(prompt)
    if not isinstance(prompt, list):
        return 0
    total = 0
    for item in cast("list[object]", prompt):
        if isinstance(item, str):
            total += count(item)
        elif isinstance(item, list):
            total += len(cast("list[object]", item))
        else:
            total += 1
    return total


def _objects(value: object) -> Iterator[dict[str, object]]:
    """The JSON objects of a JSON array; nothing of anything else."""
    if isinstance(value, list):
        yield from (cast("dict[str, object]", item) for item in cast("list[object]", value) if isinstance(item, dict))


def _counting(model: str) -> Count:
    """Counts the texts of one request: exactly until MAX_COUNTED_BYTES of them were seen, then by size."""
    left = MAX_COUNTED_BYTES

    def count(text: str) -> int:
        nonlocal left
        if not text:
            return 0
        text, size_bytes, beyond_bytes = _bounded(text, left)
        left -= size_bytes
        encoding = _encoding(encoding_name(model))
        return sum(len(encoding.encode_ordinary(piece)) for piece in _slices(text)) - (-beyond_bytes // BYTES_PER_TOKEN)

    return count


def _bounded(text: str, limit_bytes: int) -> tuple[str, int, int]:
    """The part of a text that fits, its size in bytes, and the bytes beyond it."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit_bytes:
        return text, len(encoded), 0
    return encoded[:limit_bytes].decode(errors="ignore"), limit_bytes, len(encoded) - limit_bytes


def _slices(text: str) -> Iterator[str]:
    """A text in pieces that the encoder can take, cut before a space where there is one: no token crosses that."""
    start = 0
    while len(text) - start > SLICE_CHARACTERS:
        cut = text.rfind(" ", start + SLICE_CHARACTERS // 2, start + SLICE_CHARACTERS)
        end = cut if cut > start else start + SLICE_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:] if start else text


_loading = threading.Lock()


def _encoding(name: str) -> "Encoding":
    with _loading:  # two threads must not load the same 70 MB
        return _loaded(name)


@lru_cache(maxsize=len(RANK_SHA256))
def _loaded(name: str) -> "Encoding":
    from tiktoken import Encoding

    made_by_tiktoken: object = getattr(import_module("tiktoken_ext.openai_public"), name)
    assert isinstance(made_by_tiktoken, FunctionType), "tiktoken builds its encodings by plain functions"

    def ranks(_url: str, expected_hash: str | None = None) -> dict[bytes, int]:
        if expected_hash != RANK_SHA256[name]:
            raise MissingRanks(
                f"this tiktoken expects other ranks for {name}: install the version of requirements.lock"
            )
        return _ranks(name)

    # Patterns and special tokens stay tiktoken's own; its function runs with our reader where it would download.
    offline = FunctionType(made_by_tiktoken.__code__, {**made_by_tiktoken.__globals__, "load_tiktoken_bpe": ranks})
    return Encoding(**offline())


def _ranks(name: str) -> dict[bytes, int]:
    data = gzip.decompress(_rank_file(name))
    if hashlib.sha256(data).hexdigest() != RANK_SHA256[name]:
        raise MissingRanks(
            f"the ranks of {name} in {RANK_PACKAGE} are not OpenAI's: install the version of requirements.lock"
        )
    return {
        b64decode(token): int(rank) for token, _, rank in (line.partition(b" ") for line in data.splitlines() if line)
    }


def _rank_file(name: str) -> bytes:
    """The packed rank file, found by its place in the distribution; importing the package would load 67 MB of code."""
    try:
        found = [file for file in files(RANK_PACKAGE) or () if file.name == f"{name}.tiktoken.gz"]
        return found[0].read_binary()
    except (PackageNotFoundError, IndexError, OSError) as error:
        raise MissingRanks(f"the ranks of {name} are missing: install {RANK_PACKAGE}") from error
