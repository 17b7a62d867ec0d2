"""What a call costs: sum of count x price in exact rationals, rounded half up once, to a mill.

A `Price` pins every multiplier of one call, so a charge can be recomputed from its own event years later.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Final, NamedTuple

import msgspec

from domain import completion_rules, price_tables
from domain.errors import DomainError
from domain.price_tables import known_max_output
from domain.settings import Settings
from domain.units import MILLS_PER_QUOTA, ratio_text, round_half_up
from domain.usage import Usage

__all__ = [
    "Cost",
    "CostLine",
    "Price",
    "PriceBook",
    "Unpriced",
    "known_max_output",
    "table_key",
]

TOKENS_PER_SECOND: Final = Fraction(1000, 60)
"""Audio that is sold by its length counts as 1,000 tokens a minute (Veloera 8117f302: whisper)."""

MAX_PRICES_KEPT: Final = 4_096
_ONE: Final = Fraction(1)


class Unpriced(DomainError, LookupError):
    """No price is set for `model`; its operator sets ModelRatio or ModelPrice, or accepts models without a price."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model}: expected a price in ModelRatio or ModelPrice")
        self.model = model


@dataclass(frozen=True, slots=True)
class CostLine:
    """One class of a usage: `count` at `unit_mills` each, group ratio included; `factors` say where that came from."""

    kind: str
    count: int
    unit_mills: Fraction
    factors: str

    @property
    def mills(self) -> Fraction:
        """Exact."""
        return self.count * self.unit_mills


@dataclass(frozen=True, slots=True)
class Cost:
    """What a usage costs, line by line; only the sum is rounded."""

    lines: tuple[CostLine, ...]

    @property
    def exact(self) -> Fraction:
        """Mills, unrounded."""
        return sum((line.mills for line in self.lines), Fraction(0))

    @property
    def mills(self) -> int:
        """Whole mills, half up."""
        return round_half_up(self.exact)

    @property
    def quota(self) -> int:
        """Whole quota, half up from the exact sum: 2.4999 quota is 2, though its 2,499.9 mills round to 2,500."""
        return round_half_up(self.exact / MILLS_PER_QUOTA)


class Price(msgspec.Struct, frozen=True, omit_defaults=True, cache_hash=True):
    """The multipliers pinned for one call, as exact texts (`1.25`, `4/3`) that an event can keep.

    `book` is the version of the price book. A `per_call` (USD) that is not empty is the whole price; otherwise
    `model_ratio` is quota for one token of input and the rest are multiples of it, `audio_completion_ratio` of
    `audio_ratio`.
    """

    model: str
    group: str
    book: int
    group_ratio: str = "1"
    model_ratio: str = ""
    completion_ratio: str = "1"
    cache_ratio: str = "1"
    cache_write_5m_ratio: str = "1.25"
    cache_write_1h_ratio: str = "2"
    audio_ratio: str = "1"
    audio_completion_ratio: str = "1"
    per_call: str = ""
    quota_per_unit: str = "500000"

    def cost(self, usage: Usage) -> Cost:
        """One line for each class that was used.

        Reasoning costs what output costs, image tokens what text costs, a character what a token costs, a second of audio
        TOKENS_PER_SECOND tokens. A price per call is taken once (`usage.calls` times, when that says more), and not at
        all for an empty usage.
        """
        if usage.is_empty:
            return Cost(())
        if self.per_call:
            return Cost((CostLine("calls", max(1, usage.calls), _call_mills(self), _call_factors(self)),))
        return Cost(tuple(_token_lines(self, usage)))

    def cost_mills(self, usage: Usage) -> int:
        """The same as `cost(usage).mills`, in integers only."""
        weights = _weights(self)
        if weights.per_call:
            numerator = 0 if usage.is_empty else weights.per_call * max(1, usage.calls)
        else:
            numerator = (
                weights.input * (usage.input + usage.image_input + usage.characters)
                + weights.cached_input * usage.cached_input
                + weights.cache_write_5m * usage.cache_write_5m
                + weights.cache_write_1h * usage.cache_write_1h
                + weights.output * (usage.output + usage.reasoning + usage.image_output)
                + weights.audio_input * usage.audio_input
                + weights.audio_output * usage.audio_output
                + weights.second * usage.seconds
            )
        return (2 * numerator + weights.denominator) // (2 * weights.denominator)

    def ceiling_mills(self, input_tokens: int, output_tokens: int, *, calls: int = 1) -> int:
        """The most that a call within these bounds can cost, rounded up: text in, text out, or `calls` prices per call."""
        weights = _weights(self)
        numerator = weights.per_call * calls or weights.input * input_tokens + weights.output * output_tokens
        return -(-numerator // weights.denominator)

    def explain_lines(self, usage: Usage) -> list[str]:
        """For a person: count x price x group = mills for each class, then the exact sum and its rounding."""
        cost = self.cost(usage)
        lines = [f"{line.count} {line.kind} x {line.factors} = {_said(line.mills)} mills" for line in cost.lines]
        exact, rounded = _said(cost.exact), f"{cost.mills:,}"
        return [*lines, f"sum {exact} mills, rounded half up once: {rounded} mills (1 quota = 1,000 mills)"]


class PriceBook:
    """An unchanging snapshot of every price, of one version."""

    __slots__ = ("_kept", "_ratios", "_self_use", "quota_per_unit", "version")

    def __init__(
        self, ratios: Mapping[str, Mapping[str, Fraction]], quota_per_unit: str, *, self_use: bool, version: int
    ):
        self._ratios = ratios
        self._self_use = self_use
        self._kept: dict[tuple[str, str], Price] = {}
        self.quota_per_unit = quota_per_unit
        self.version = version

    @classmethod
    def from_settings(cls, options: Mapping[str, str], version: int) -> "PriceBook":
        """Read the option texts. An option that is absent means our table; one that is present replaces it wholly.

        Raises:
            InvalidSetting: a text that its key cannot hold.
        """
        settings = Settings(options)
        return cls(
            {key: settings.ratios(key) for key in _RATIO_KEYS},
            ratio_text(Fraction(settings.decimal("QuotaPerUnit"))),
            self_use=settings.bool("SelfUseModeEnabled"),
            version=version,
        )

    def is_priced(self, model: str) -> bool:
        """Whether an operator, or our table, has set a price for it."""
        key = table_key(model)
        return key in self._ratios["ModelPrice"] or key in self._ratios["ModelRatio"]

    def price(self, model: str, group: str, *, accept_unpriced: bool = False) -> Price:
        """The multipliers for a model in a group; a group without a ratio pays 1.

        Raises:
            Unpriced: no price is set, and neither the operator (self-use mode) nor the caller accepts that.
        """
        kept = self._kept.get((model, group))
        if kept is not None:
            return kept
        is_priced = self.is_priced(model)
        if not (is_priced or self._self_use or accept_unpriced):
            raise Unpriced(model)
        price = self._pinned(model, group)
        if is_priced and len(self._kept) < MAX_PRICES_KEPT:
            self._kept[model, group] = price
        return price

    def _pinned(self, model: str, group: str) -> Price:
        """A new price. What equals its default is the default object itself: only then do events leave it out."""
        price = self._multipliers(model, group)
        return msgspec.structs.replace(
            price,
            **{
                field.name: field.default
                for field in msgspec.structs.fields(Price)
                if field.default == getattr(price, field.name)
            },
        )

    def _multipliers(self, model: str, group: str) -> Price:
        key = table_key(model)
        group_ratio = ratio_text(self._ratios["GroupRatio"].get(group, _ONE))
        per_call = self._ratios["ModelPrice"].get(key)
        if per_call is not None:
            return Price(
                model,
                group,
                self.version,
                group_ratio=group_ratio,
                per_call=ratio_text(per_call),
                quota_per_unit=self.quota_per_unit,
            )
        model_ratio = self._ratios["ModelRatio"].get(key, Fraction(price_tables.UNPRICED_MODEL_RATIO))
        completion = completion_rules.completion_ratio(key, self._ratios["CompletionRatio"])
        cache_write = self._ratios["CacheWriteRatio"].get(key, Fraction(price_tables.CACHE_WRITE_RATIO))
        audio, audio_completion = self._audio(key, completion)
        return Price(
            model,
            group,
            self.version,
            group_ratio=group_ratio,
            model_ratio=ratio_text(model_ratio),
            completion_ratio=ratio_text(completion),
            cache_ratio=ratio_text(self._ratios["CacheRatio"].get(key, _ONE)),
            cache_write_5m_ratio=ratio_text(cache_write),
            cache_write_1h_ratio=ratio_text(cache_write * Fraction(price_tables.CACHE_WRITE_1H_FACTOR)),
            audio_ratio=ratio_text(audio),
            audio_completion_ratio=ratio_text(audio_completion),
            quota_per_unit=self.quota_per_unit,
        )

    def _audio(self, key: str, completion: Fraction) -> tuple[Fraction, Fraction]:
        """Audio beside text, and audio output beside audio input. Without an audio ratio both are those of text."""
        audio = completion_rules.audio_ratio(key, self._ratios["AudioRatio"])
        beside = completion if audio is None else completion_rules.AUDIO_COMPLETION_RATIO
        return audio if audio is not None else _ONE, self._ratios["AudioCompletionRatio"].get(key, beside)


def table_key(model: str) -> str:
    """The name under which tables list a model: every custom GPT shares one row."""
    if model.startswith("gpt-4-gizmo"):
        return "gpt-4-gizmo-*"
    if model.startswith("gpt-4o-gizmo"):
        return "gpt-4o-gizmo-*"
    return model


_RATIO_KEYS: Final = (
    "ModelRatio",
    "CompletionRatio",
    "CacheRatio",
    "ModelPrice",
    "GroupRatio",
    "CacheWriteRatio",
    "AudioRatio",
    "AudioCompletionRatio",
)


class _Weights(NamedTuple):
    """Mills for one of each class, as numerators over one denominator. `per_call` is 0 where tokens are sold."""

    denominator: int
    input: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    audio_input: int = 0
    audio_output: int = 0
    second: int = 0
    per_call: int = 0


@lru_cache(maxsize=MAX_PRICES_KEPT)
def _weights(price: Price) -> _Weights:
    assert price.model_ratio or price.per_call, "a price says what a token or what a call costs"
    if price.per_call:
        unit = _call_mills(price)
        return _Weights(unit.denominator, per_call=unit.numerator)
    units = {kind: _unit_mills(price, factors) for kind, factors in _factors(price)}
    denominator = lcm(*(unit.denominator for unit in units.values()))
    whole = {kind: unit.numerator * (denominator // unit.denominator) for kind, unit in units.items()}
    return _Weights(
        denominator,
        input=whole["input"],
        cached_input=whole["cached_input"],
        cache_write_5m=whole["cache_write_5m"],
        cache_write_1h=whole["cache_write_1h"],
        output=whole["output"],
        audio_input=whole["audio_input"],
        audio_output=whole["audio_output"],
        second=whole["seconds"],
    )


_Factors = tuple[tuple[str, str], ...]
"""Pairs of a multiplier and the word for it, beside the price of input."""


def _factors(price: Price) -> Iterator[tuple[str, _Factors]]:
    """What each class of a usage is multiplied by, beside the price of input and the group."""
    completion = (price.completion_ratio, "completion")
    audio = (price.audio_ratio, "audio")
    yield "input", ()
    yield "cached_input", ((price.cache_ratio, "cache"),)
    yield "cache_write_5m", ((price.cache_write_5m_ratio, "cache write"),)
    yield "cache_write_1h", ((price.cache_write_1h_ratio, "cache write"),)
    yield "output", (completion,)
    yield "reasoning", (completion,)
    yield "audio_input", (audio,)
    yield "audio_output", (audio, (price.audio_completion_ratio, "audio completion"))
    yield "image_input", ()
    yield "image_output", (completion,)
    yield "seconds", ((ratio_text(TOKENS_PER_SECOND), "tokens a second"),)
    yield "characters", ()


def _token_lines(price: Price, usage: Usage) -> Iterator[CostLine]:
    for kind, factors in _factors(price):
        count: int = getattr(usage, kind)
        if not count:
            continue
        said = "".join(f"{ratio} ({word}) x " for ratio, word in factors)
        unit_mills = _unit_mills(price, factors)
        yield CostLine(kind, count, unit_mills, f"{price.model_ratio} x {said}{price.group_ratio} (group)")


def _unit_mills(price: Price, factors: _Factors) -> Fraction:
    unit = Fraction(price.model_ratio) * Fraction(price.group_ratio) * MILLS_PER_QUOTA
    for ratio, _ in factors:
        unit *= Fraction(ratio)
    return unit


def _call_mills(price: Price) -> Fraction:
    quota = Fraction(price.per_call) * Fraction(price.quota_per_unit) * Fraction(price.group_ratio)
    return quota * MILLS_PER_QUOTA


def _call_factors(price: Price) -> str:
    return f"{price.per_call} USD x {price.quota_per_unit} (quota for 1 USD) x {price.group_ratio} (group)"


def _said(mills: Fraction) -> str:
    """`1,250,000`, `1,250.5`, or the fraction itself where decimals never end."""
    whole, point, rest = ratio_text(mills).partition(".")
    return whole if "/" in whole else f"{int(whole):,}{point}{rest}"
