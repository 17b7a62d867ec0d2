"""What output and audio cost beside input, by model name: rows of data, the first that matches counts.

A locked row wins over the operator's CompletionRatio (a name with a slash excepted); an unlocked one only fills a gap.
Source: Veloera 8117f302 (2025-06); the rows for later names from new-api's table, read 2026-11.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Final, NamedTuple


class CompletionRule(NamedTuple):
    """Output costs `ratio` times input for names like `test` (`*` is anything; `any_case` ignores case)."""

    test: str
    ratio: str
    locked: bool
    any_case: bool = False


class AudioRule(NamedTuple):
    """Audio input costs `ratio` times text input for names like `test`."""

    test: str
    ratio: str


COMPLETION_RULES: Final = (
    CompletionRule("gpt-4*-all", "1", locked=False),
    CompletionRule("gpt-4*-gizmo-[*]", "1", locked=False),
    CompletionRule("gpt-4o-2024-05-13", "3", locked=True),
    CompletionRule("gpt-4o*", "4", locked=True),
    CompletionRule("gpt-4.5-preview*", "2", locked=True),
    CompletionRule("gpt-4-turbo*", "3", locked=True),
    CompletionRule("gpt-4-1106", "3", locked=True),
    CompletionRule("gpt-4*gpt-4-1106", "3", locked=True),
    CompletionRule("gpt-4-1105", "3", locked=True),
    CompletionRule("gpt-4*gpt-4-1105", "3", locked=True),
    CompletionRule("gpt-4*", "2", locked=False),
    CompletionRule("o1*", "4", locked=True),
    CompletionRule("o3*", "4", locked=True),
    CompletionRule("chatgpt-4o-latest", "3", locked=True),
    CompletionRule("*claude-3*", "5", locked=True),
    CompletionRule("*claude-sonnet-4*", "5", locked=True),
    CompletionRule("*claude-opus-4*", "5", locked=True),
    CompletionRule("*claude-instant-1*", "3", locked=True),
    CompletionRule("*claude-2*", "3", locked=True),
    CompletionRule("gpt-3.5-turbo", "3", locked=True),
    CompletionRule("gpt-3.5*0125", "3", locked=True),
    CompletionRule("gpt-3.5*1106", "2", locked=True),
    CompletionRule("gpt-3.5*", "4/3", locked=True),
    CompletionRule("mistral-*", "3", locked=True),
    CompletionRule("gemini-1.0-pro*", "4", locked=True),
    CompletionRule("gemini-1.5-pro*", "4", locked=True),
    CompletionRule("gemini-2.5-pro-preview*", "8", locked=True),
    CompletionRule("gemini-2.5-flash-preview*-nothinking", "4", locked=False),
    CompletionRule("gemini-2.5-flash-preview*", "35/6", locked=False),
    CompletionRule("gemini*", "4", locked=False),
    CompletionRule("command-r", "3", locked=True),
    CompletionRule("command-r-plus", "5", locked=True),
    CompletionRule("command-r-08-2024", "4", locked=True),
    CompletionRule("command-r-plus-08-2024", "4", locked=True),
    CompletionRule("command*", "4", locked=False),
    CompletionRule("deepseek-chat", "4", locked=True, any_case=True),
    CompletionRule("deepseek-reasoner", "4", locked=True, any_case=True),
    CompletionRule("ERNIE-Speed-*", "2", locked=True),
    CompletionRule("ERNIE-Lite-*", "2", locked=True),
    CompletionRule("ERNIE-Character*", "2", locked=True),
    CompletionRule("ERNIE-Functions*", "2", locked=True),
    CompletionRule("llama2-70b-4096", "1.25", locked=True),
    CompletionRule("llama3-8b-8192", "2", locked=True),
    CompletionRule("llama3-70b-8192", "79/59", locked=True),
    # Families younger than Veloera's table, which would leave their output at the price of input.
    CompletionRule("gpt-5.4-nano*", "6.25", locked=False),
    CompletionRule("gpt-5.4*", "6", locked=False),
    CompletionRule("gpt-5.5*", "6", locked=False),
    CompletionRule("gpt-5.6*", "6", locked=False),
    CompletionRule("gpt-5*", "8", locked=False),
    CompletionRule("gpt-image-1*", "8", locked=False),
    CompletionRule("o4*", "4", locked=False),
    CompletionRule("*claude-haiku-4*", "5", locked=False),
    CompletionRule("*claude-sonnet-5*", "5", locked=False),
    CompletionRule("*claude-opus-5*", "5", locked=False),
    CompletionRule("*claude-fable-5*", "5", locked=False),
    CompletionRule("*", "1", locked=False),
)

# Chat models outside gpt-4o-audio* are priced as text whatever they say of audio; realtime models always speak.
AUDIO_RULES: Final = (
    AudioRule("*gpt-4o-realtime-preview-2024-12-17", "8"),
    AudioRule("gpt-4o*mini*-realtime*", "50/3"),
    AudioRule("gpt-4o*-realtime*mini*", "50/3"),
    AudioRule("gpt-4o*-realtime*", "20"),
    AudioRule("gpt-4o-audio-preview-2024-12-17", "16"),
    AudioRule("gpt-4o-audio*mini*", "200/3"),
    AudioRule("gpt-4o-audio*", "40"),
)

AUDIO_COMPLETION_RATIO: Final = Fraction(2)
"""Audio output beside audio input, for every model that has an audio ratio."""


def completion_ratio(model: str, configured: Mapping[str, Fraction]) -> Fraction:
    """How many times dearer output is than input."""
    if "/" in model and model in configured:
        return configured[model]
    rule = completion_rule(model)
    if rule.locked or model not in configured:
        return Fraction(rule.ratio)
    return configured[model]


def completion_rule(model: str) -> CompletionRule:
    """The first row that matches; the last matches every name."""
    folded = model.lower()
    return next(rule for rule in COMPLETION_RULES if fnmatchcase(folded if rule.any_case else model, rule.test))


def audio_ratio(model: str, configured: Mapping[str, Fraction]) -> Fraction | None:
    """How many times dearer audio input is than text; None where audio is priced as text."""
    if model in configured:
        return configured[model]
    return next((Fraction(rule.ratio) for rule in AUDIO_RULES if fnmatchcase(model, rule.test)), None)
