"""The prices that hold while an operator has saved none: every number is exact text, `4/3` where decimals never end.

Ratio 1 is 1 quota a token, 2 USD a million. Source: the tables of Veloera 8117f302 (2025-06), which a migrated site with
unsaved options was charging; models that came later, from new-api's table and Anthropic's price page, read 2026-11.
An option that an operator saves replaces its table wholly.
"""

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Final

from domain.units import ratio_text

UNPRICED_MODEL_RATIO: Final = "37.5"
"""Charged for a model without a price, where the operator or the user accepts such models."""

CACHE_WRITE_RATIO: Final = "1.25"
"""Writing a five-minute cache beside plain input, for every model (Anthropic's prompt caching prices)."""

CACHE_WRITE_1H_FACTOR: Final = "1.6"
"""A one-hour cache beside a five-minute one: 2 against 1.25 times input (same source)."""

GROUP_RATIO: Final = {"default": "1", "vip": "1", "svip": "1"}


def _named(names_by_price: Mapping[str, str]) -> dict[str, str]:
    return {name: price for price, names in names_by_price.items() for name in names.split()}


def _from_yuan(names_by_yuan: Mapping[str, str]) -> dict[str, str]:
    """Ratios of models whose vendor states yuan per 1,000 tokens, at 7.3 yuan a dollar: yuan x 500 / 7.3, unrounded."""
    per_yuan = 500 / Fraction("7.3")
    return {name: ratio_text(Fraction(yuan) * per_yuan) for name, yuan in _named(names_by_yuan).items()}


_VELOERA_RATIO: Final = {
    "0": "glm-4-flash",
    "0.001": "text-embedding-004",
    "0.01": "text-embedding-3-small",
    "0.05": "gemini-2.0-flash text-embedding-ada-002 text-embedding-v1",
    "0.065": "text-embedding-3-large",
    "0.0715": "embedding-bert-512-v1 embedding_s1_v1 semantic_similarity_s1_v1",
    "0.075": """command-r-08-2024 gemini-1.5-flash-latest gemini-2.5-flash-preview-04-17
        gemini-2.5-flash-preview-04-17-nothinking gemini-2.5-flash-preview-04-17-thinking
        gpt-4o-mini gpt-4o-mini-2024-07-18""",
    "0.0858": "360gpt-turbo",
    "0.1": """llama-3-sonar-small-32k-chat llama-3-sonar-small-32k-online
        text-moderation-latest text-moderation-stable""",
    "0.125": "claude-3-haiku-20240307",
    "0.135": "deepseek-chat deepseek-coder",
    "0.1429": "chatglm_lite",
    "0.15": "grok-3-mini-beta",
    "0.18": "yi-34b-chat-0205",
    "0.2": "babbage-002 text-ada-001",
    "0.25": "command-r gpt-3.5-turbo gpt-3.5-turbo-0125 text-babbage-001",
    "0.275": "deepseek-reasoner",
    "0.3": "gpt-4o-mini-realtime-preview gpt-4o-mini-realtime-preview-2024-12-17 grok-3-mini-fast-beta",
    "0.3572": "chatglm_std chatglm_turbo glm-3-turbo",
    "0.4": "claude-instant-1",
    "0.432": "yi-vl-plus",
    "0.5": """claude-3-5-haiku-20241022 command command-light command-light-nightly command-nightly
        gpt-3.5-turbo-1106 llama-3-sonar-large-32k-chat llama-3-sonar-large-32k-online""",
    "0.55": """o1-mini o1-mini-2024-09-12 o3-mini o3-mini-2025-01-31 o3-mini-2025-01-31-high o3-mini-2025-01-31-low
        o3-mini-2025-01-31-medium o3-mini-high o3-mini-low o3-mini-medium""",
    "0.625": "gemini-2.5-pro-exp-03-25 gemini-2.5-pro-preview-03-25",
    "0.7143": "chatglm_pro",
    "0.75": "gpt-3.5-turbo-0613 gpt-3.5-turbo-instruct",
    "0.8572": "360GPT_S2_V9 360gpt-pro 360gpt-turbo-responsibility-8k 360gpt2-pro qwen-turbo",
    "0.864": "yi-34b-chat-200k",
    "1": "PaLM-2 davinci-002 grok-2 grok-2-vision text-curie-001",
    "1.25": """command-r-plus-08-2024 gemini-1.5-pro-latest gpt-4o gpt-4o-2024-08-06 gpt-4o-2024-11-20
        gpt-4o-audio-preview gpt-4o-audio-preview-2024-10-01""",
    "1.2858": "SparkDesk-v1.1 SparkDesk-v2.1 SparkDesk-v3.1 SparkDesk-v3.5 SparkDesk-v4.0",
    "1.5": """claude-3-5-sonnet-20240620 claude-3-5-sonnet-20241022 claude-3-7-sonnet-20250219
        claude-3-7-sonnet-20250219-thinking claude-3-sonnet-20240229 claude-sonnet-4-20250514 command-r-plus
        gpt-3.5-turbo-16k gpt-3.5-turbo-16k-0613 grok-3-beta""",
    "2.5": """chatgpt-4o-latest gpt-4o-2024-05-13 gpt-4o-gizmo-* gpt-4o-realtime-preview
        gpt-4o-realtime-preview-2024-10-01 gpt-4o-realtime-preview-2024-12-17 grok-3-fast-beta grok-beta
        grok-vision-beta""",
    "4": "claude-2.0 claude-2.1",
    "5": """gpt-4-0125-preview gpt-4-1106-preview gpt-4-1106-vision-preview gpt-4-turbo gpt-4-turbo-2024-04-09
        gpt-4-turbo-preview gpt-4-vision-preview""",
    "7.143": "glm-4 hunyuan",
    "7.5": """claude-3-opus-20240229 claude-opus-4-20250514 o1 o1-2024-12-17 o1-preview o1-preview-2024-09-12
        tts-1 tts-1-1106""",
    "10": """ada babbage code-davinci-edit-001 curie davinci qwen-plus text-davinci-edit-001
        text-search-ada-doc-001""",
    "15": "gpt-4 gpt-4-0613 gpt-4-all gpt-4-gizmo-* gpt-4o-all tts-1-hd tts-1-hd-1106 whisper-1",
    "30": "gpt-4-32k gpt-4-32k-0613",
    "37.5": "gpt-4.5-preview gpt-4.5-preview-2025-02-27",
}

# Entries whose yuan price was rounded before it became a ratio (glm-4 7.143, qwen-turbo 0.8572 ...) stay above as charged.
_VELOERA_YUAN: Final = {
    "0.001": "ERNIE-Tiny-8K glm-4-air glm-4-long yi-spark",
    "0.002": "Embedding-V1 bge-large-en bge-large-zh tao-8k",
    "0.0025": "yi-medium",
    "0.003": "ERNIE-Lite-8K-0308",
    "0.004": "BLOOMZ-7B ERNIE-Speed-128K ERNIE-Speed-8K",
    "0.006": "yi-vision",
    "0.008": "ERNIE-Lite-8K-0922",
    "0.01": "glm-4-airx glm-4v-plus",
    "0.012": "ERNIE-3.5-4K-0205 ERNIE-3.5-8K ERNIE-3.5-8K-1222 yi-large-turbo yi-medium-200k",
    "0.02": "yi-large yi-large-preview",
    "0.024": "ERNIE-3.5-8K-0205 ERNIE-Bot-8K",
    "0.025": "yi-large-rag yi-large-rag-preview",
    "0.05": "glm-4-plus glm-4v",
    "0.1": "glm-4-0520 glm-4-alltools",
    "0.12": "ERNIE-4.0-8K",
}

_LATER_RATIO: Final = {
    "0.025": "gpt-5-nano gpt-5-nano-2025-08-07",
    "0.05": "gpt-4.1-nano gpt-4.1-nano-2025-04-14 gemini-2.5-flash-lite gemini-2.5-flash-lite-preview-06-17",
    "0.075": """gemini-2.5-flash-preview-05-20 gemini-2.5-flash-preview-05-20-thinking
        gemini-2.5-flash-preview-05-20-nothinking gemini-embedding-001""",
    "0.125": "gpt-5-mini gpt-5-mini-2025-08-07",
    "0.15": "gemini-2.5-flash",
    "0.2": "gpt-4.1-mini gpt-4.1-mini-2025-04-14",
    "0.3": "gpt-4o-mini-tts",
    "0.5": "claude-haiku-4-5 claude-haiku-4-5-20251001 gpt-5.6-luna",
    "0.55": "o4-mini o4-mini-2025-04-16",
    "0.625": "gpt-5 gpt-5-2025-08-07 gpt-5-chat-latest gemini-2.5-pro",
    "1": """gpt-4.1 gpt-4.1-2025-04-14 o3 o3-2025-04-16 o4-mini-deep-research o4-mini-deep-research-2025-06-26
        sandbox-1""",
    "1.25": "gpt-5.6-terra",
    "1.5": "claude-sonnet-4-5 claude-sonnet-4-5-20250929 claude-sonnet-4-6 claude-sonnet-5",
    "2.5": """claude-opus-4-5 claude-opus-4-5-20251101 claude-opus-4-6 claude-opus-4-7 claude-opus-4-8 claude-opus-5
        gpt-5.5 gpt-5.6-sol gpt-image-1""",
    "5": "claude-fable-5 o3-deep-research o3-deep-research-2025-06-26",
    "7.5": "claude-opus-4-1 claude-opus-4-1-20250805",
    "10": "o3-pro o3-pro-2025-06-10",
    "75": "o1-pro o1-pro-2025-03-19",
}

MODEL_RATIO: Final = _named(_VELOERA_RATIO) | _from_yuan(_VELOERA_YUAN) | _named(_LATER_RATIO)
"""Quota for one token of input, by model."""

COMPLETION_RATIO: Final = _named(
    {
        "2": "gpt-4-gizmo-* gpt-4-all sandbox-1",
        "3": "gpt-4o-gizmo-*",
        "4": """gpt-4.1 gpt-4.1-2025-04-14 gpt-4.1-mini gpt-4.1-mini-2025-04-14 gpt-4.1-nano
            gpt-4.1-nano-2025-04-14""",
        "8": "gemini-2.5-pro",
        "25/3": "gemini-2.5-flash",
    }
)
"""Output beside input, by model, where no locked rule of `domain.completion_rules` says it."""

CACHE_RATIO: Final = _named(
    {
        "0.1": """claude-3-sonnet-20240229 claude-3-opus-20240229 claude-3-haiku-20240307 claude-3-5-haiku-20241022
            claude-3-5-sonnet-20240620 claude-3-5-sonnet-20241022 claude-3-7-sonnet-20250219
            claude-3-7-sonnet-20250219-thinking claude-sonnet-4-20250514 claude-sonnet-4-20250514-thinking
            claude-opus-4-20250514 claude-opus-4-20250514-thinking claude-haiku-4-5 claude-haiku-4-5-20251001
            claude-sonnet-4-5 claude-sonnet-4-5-20250929 claude-sonnet-4-6 claude-opus-4-1 claude-opus-4-1-20250805
            claude-opus-4-5 claude-opus-4-5-20251101 claude-opus-4-6 claude-opus-4-7 claude-opus-4-8 claude-sonnet-5 claude-opus-5
            claude-fable-5 gpt-5 gpt-5-2025-08-07 gpt-5-chat-latest gpt-5-mini gpt-5-mini-2025-08-07 gpt-5-nano
            gpt-5-nano-2025-08-07 gpt-5.5 gpt-5.6-sol gpt-5.6-terra gpt-5.6-luna gemini-3-pro-preview
            gemini-3-flash-preview""",
        "0.25": """deepseek-chat deepseek-reasoner deepseek-coder gpt-4.1 gpt-4.1-2025-04-14 gpt-4.1-mini
            gpt-4.1-mini-2025-04-14 gpt-4.1-nano gpt-4.1-nano-2025-04-14 o3 o3-2025-04-16 o4-mini o4-mini-2025-04-16
            gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite""",
        "0.5": """gpt-4 o1 o1-2024-12-17 o1-preview o1-preview-2024-09-12 o1-mini o1-mini-2024-09-12 o3-mini
            o3-mini-2025-01-31 gpt-4o gpt-4o-2024-08-06 gpt-4o-2024-11-20 gpt-4o-mini gpt-4o-mini-2024-07-18
            gpt-4o-realtime-preview gpt-4o-mini-realtime-preview gpt-4.5-preview gpt-4.5-preview-2025-02-27""",
    }
)
"""Cached input beside plain input, by model; 1 elsewhere."""

MODEL_PRICE: Final = _named(
    {
        "0": "mj_inpaint mj_custom_zoom",
        "0.01": "suno_lyrics",
        "0.03": "imagen-3.0-generate-002",
        "0.04": "dall-e-3 black-forest-labs/flux-1.1-pro",
        "0.05": "mj_describe mj_upscale swap_face mj_upload",
        "0.1": """suno_music gpt-4-gizmo-* mj_imagine mj_variation mj_reroll mj_blend mj_modal mj_zoom mj_shorten
            mj_high_variation mj_low_variation mj_pan mj_edits""",
        "0.15": "veo-3.0-fast-generate-001 veo-3.1-fast-generate-preview",
        "0.3": "sora-2",
        "0.4": "veo-3.0-generate-001 veo-3.1-generate-preview",
        "0.5": "sora-2-pro",
        "0.8": "mj_video",
    }
)
"""USD for one call, by model; a model here is priced by the call and not by its tokens."""

# Source: the model pages of Anthropic and DeepSeek, and public lists of those of OpenAI and Google, read 2026-11.
_MAX_OUTPUT_BY_PREFIX: Final = {
    "gpt-3.5-turbo": 4_096,
    "gpt-4": 8_192,
    "gpt-4-32k": 32_768,
    "gpt-4-turbo": 4_096,
    "gpt-4-0125-preview": 4_096,
    "gpt-4-1106-preview": 4_096,
    "gpt-4o": 16_384,
    "gpt-4o-2024-05-13": 4_096,
    "chatgpt-4o-latest": 16_384,
    "gpt-4.1": 32_768,
    "gpt-4.5-preview": 16_384,
    "gpt-5": 128_000,
    "gpt-5-chat-latest": 16_384,
    "o1": 100_000,
    "o1-preview": 32_768,
    "o1-mini": 65_536,
    "o3": 100_000,
    "o4-mini": 100_000,
    "claude-2": 4_096,
    "claude-instant-1": 4_096,
    "claude-3": 4_096,
    "claude-3-5": 8_192,
    "claude-3-7-sonnet": 64_000,
    "claude-sonnet-4": 64_000,
    "claude-sonnet-4-6": 128_000,
    "claude-sonnet-5": 128_000,
    "claude-haiku-4-5": 64_000,
    "claude-opus-4": 32_000,
    "claude-opus-4-5": 64_000,
    "claude-opus-4-6": 128_000,
    "claude-opus-4-7": 128_000,
    "claude-opus-4-8": 128_000,
    "claude-opus-5": 128_000,
    "claude-fable-5": 128_000,
    "gemini-1.5": 8_192,
    "gemini-2.0": 8_192,
    "gemini-2.5": 65_536,
    "gemini-3": 65_536,
    "deepseek-chat": 8_192,
    "deepseek-reasoner": 65_536,
    "command-r": 4_096,
}
_LONGEST_PREFIX_FIRST: Final = sorted(_MAX_OUTPUT_BY_PREFIX, key=len, reverse=True)


@lru_cache(maxsize=1_024)
def known_max_output(model: str) -> int | None:
    """The most tokens a well-known model can produce in one answer, by its longest known prefix; None when unknown."""
    return next((_MAX_OUTPUT_BY_PREFIX[prefix] for prefix in _LONGEST_PREFIX_FIRST if model.startswith(prefix)), None)
