"""What one call used, in classes that never overlap: each token is counted once, in exactly one of them."""

from collections.abc import Mapping
from typing import Final, cast

import msgspec

from domain.errors import DomainError

MAX_COUNT_PER_CALL: Final = 100_000_000
"""More than this of anything in one call is an error of whoever counted, not a bill."""

_MAX_DIGITS: Final = 20


class AbsurdUsage(DomainError, ValueError):
    """An upstream stated a usage that cannot be: negative, not a number, too large, or a part above its whole."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Counts of one call by disjoint class.

    `input` excludes cached, written, audio and image tokens; `output` excludes reasoning, audio and image tokens.
    `calls` counts pieces of work sold at a price per call (0 is read as one); `seconds` and `characters` are for speech.
    """

    input: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    calls: int = 0
    seconds: int = 0
    characters: int = 0

    @classmethod
    def from_openai(cls, usage: Mapping[str, object]) -> "Usage":
        """Read a decoded OpenAI `usage` object: of chat, completions, embeddings (`prompt_tokens`) or responses
        (`input_tokens`).

        `prompt_tokens` includes `cached_tokens` and `audio_tokens` of its details, `completion_tokens` includes
        `reasoning_tokens` and `audio_tokens` (OpenAI API reference, chat completion object). Where cached and audio, or
        reasoning and audio, overlap, the overlap counts as cached, or reasoning. Image tokens stay in `input`: some
        upstreams count cached images under both names, and both cost the same.
        DeepSeek states its cache as `prompt_cache_hit_tokens` (its context caching guide). xAI states reasoning beside
        `completion_tokens`, which its total shows. A usage with only a total is all input (rerankers).

        Counts may be integers, floats (a fraction of a token is dropped) or texts of digits; null and absent are 0.

        Raises:
            AbsurdUsage: negative, not a number, above MAX_COUNT_PER_CALL, or a part larger than its whole.
        """
        input_whole = _count(usage, "prompt_tokens") or _count(usage, "input_tokens")
        output_whole = _count(usage, "completion_tokens") or _count(usage, "output_tokens")
        if not input_whole and not output_whole:
            input_whole = _count(usage, "total_tokens")

        cached = audio_input = reasoning = audio_output = 0
        input_details = _details(usage, "prompt_tokens_details", "input_tokens_details")
        if input_details:
            cached = _part(input_details, "cached_tokens", input_whole)
            audio_input = min(_part(input_details, "audio_tokens", input_whole), input_whole - cached)
        if not cached:
            cached = _part(usage, "prompt_cache_hit_tokens", input_whole)
            audio_input = min(audio_input, input_whole - cached)

        output_details = _details(usage, "completion_tokens_details", "output_tokens_details")
        if output_details:
            reasoning = _count(output_details, "reasoning_tokens")
            if reasoning and _count(usage, "total_tokens") == input_whole + output_whole + reasoning:
                output_whole += reasoning
            if reasoning > output_whole:
                raise AbsurdUsage(f"reasoning_tokens {reasoning}: expected at most completion_tokens {output_whole}")
            audio_output = min(_part(output_details, "audio_tokens", output_whole), output_whole - reasoning)

        return cls(
            input=input_whole - cached - audio_input,
            cached_input=cached,
            output=output_whole - reasoning - audio_output,
            reasoning=reasoning,
            audio_input=audio_input,
            audio_output=audio_output,
        )

    @property
    def is_empty(self) -> bool:
        """Nothing of anything was used."""
        return self._bits() == 0

    @property
    def input_total(self) -> int:
        """Every token that went in, whatever its class: OpenAI's `prompt_tokens`."""
        return (
            self.input
            + self.cached_input
            + self.cache_write_5m
            + self.cache_write_1h
            + self.audio_input
            + self.image_input
        )

    @property
    def output_total(self) -> int:
        """Every token that came out, whatever its class: OpenAI's `completion_tokens`."""
        return self.output + self.reasoning + self.audio_output + self.image_output

    def check(self) -> "Usage":
        """Itself, when every count is in 0..MAX_COUNT_PER_CALL.

        Raises:
            AbsurdUsage: the first class that is not.
        """
        # The bitwise or of counts is negative when one is, and never below the largest.
        if 0 <= self._bits() <= MAX_COUNT_PER_CALL:
            return self
        for name in self.__struct_fields__:
            _bounded(name, getattr(self, name))
        return self

    def plus(self, other: "Usage") -> "Usage":
        """Class by class sum, for calls that are metered in turns."""
        return Usage(*[getattr(self, name) + getattr(other, name) for name in self.__struct_fields__])

    def _bits(self) -> int:
        return (
            self.input
            | self.cached_input
            | self.cache_write_5m
            | self.cache_write_1h
            | self.output
            | self.reasoning
            | self.audio_input
            | self.audio_output
            | self.image_input
            | self.image_output
            | self.calls
            | self.seconds
            | self.characters
        )


def _count(usage: Mapping[str, object], name: str) -> int:
    value = usage.get(name)
    if value is None:
        return 0
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT_PER_CALL else _bounded(name, value)
    if type(value) is float and abs(value) <= MAX_COUNT_PER_CALL:
        # The bound is tested first: it is false for NaN and infinity, which have no integer.
        return _bounded(name, -1 if value < 0 else int(value))
    if type(value) is str and len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit():
        return _bounded(name, int(value))
    said = repr(value[:_MAX_DIGITS]) if isinstance(value, str) else type(value).__name__
    raise AbsurdUsage(f"{name} {said}: expected a whole number from 0 to {MAX_COUNT_PER_CALL:,}")


def _bounded(name: str, count: int) -> int:
    if 0 <= count <= MAX_COUNT_PER_CALL:
        return count
    # An integer of thousands of digits cannot even be printed: say its size instead.
    said = str(count) if count.bit_length() < 100 else f"of {count.bit_length()} bits"
    raise AbsurdUsage(f"{name} {said}: expected 0 to {MAX_COUNT_PER_CALL:,}")


def _part(details: Mapping[str, object], name: str, whole: int) -> int:
    part = _count(details, name)
    if part > whole:
        raise AbsurdUsage(f"{name} {part}: expected at most the {whole} tokens it is part of")
    return part


def _details(usage: Mapping[str, object], name: str, other_name: str) -> Mapping[str, object] | None:
    details = usage.get(name)
    if details is None:
        details = usage.get(other_name)
    if details is None or isinstance(details, dict):
        return cast("Mapping[str, object] | None", details)
    raise AbsurdUsage(f"{name}: expected an object")
