"""Money is exact: every cost equals an oracle in fractions that shares no code with it, and is rounded once, half up."""

import json
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.completion_rules import COMPLETION_RULES, completion_ratio
from domain.pricing import MAX_PRICES_KEPT, Price, PriceBook, Unpriced, known_max_output
from domain.settings import REGISTRY, InvalidSetting
from domain.units import MILLS_PER_QUOTA, mills, quota_floored, quota_rounded, ratio_text, round_half_up
from domain.usage import MAX_COUNT_PER_CALL, Usage

counts = st.integers(0, MAX_COUNT_PER_CALL)
usages = st.builds(Usage, *[st.one_of(st.just(0), st.integers(0, 5_000), counts) for _ in Usage.__struct_fields__])
fractions = st.fractions(0, 100, max_denominator=1_000)
ratios = st.one_of(st.sampled_from(["0", "1", "0.5", "1.25", "4/3", "37.5"]), fractions.map(ratio_text))
token_prices = st.builds(Price, st.just("m"), st.just("g"), st.just(1), *[ratios] * 8)
call_prices = st.builds(
    Price,
    st.just("m"),
    st.just("g"),
    st.just(1),
    group_ratio=ratios,
    per_call=ratios,
    quota_per_unit=st.sampled_from(["500000", "1000", "0.5"]),
)
prices = st.one_of(token_prices, call_prices)


def oracle_mills(price: Price, usage: Usage) -> Fraction:
    """The exact price of a usage, written from the rules alone."""
    if usage == Usage():
        return Fraction(0)
    group = Fraction(price.group_ratio)
    if price.per_call:
        return Fraction(price.per_call) * Fraction(price.quota_per_unit) * group * 1000 * max(usage.calls, 1)
    output, audio = Fraction(price.completion_ratio), Fraction(price.audio_ratio)
    in_tokens = usage.input + usage.image_input + usage.characters + Fraction(usage.seconds * 1000, 60)
    in_tokens += usage.cached_input * Fraction(price.cache_ratio)
    in_tokens += usage.cache_write_5m * Fraction(price.cache_write_5m_ratio)
    in_tokens += usage.cache_write_1h * Fraction(price.cache_write_1h_ratio)
    in_tokens += usage.audio_input * audio + usage.audio_output * audio * Fraction(price.audio_completion_ratio)
    in_tokens += (usage.output + usage.reasoning + usage.image_output) * output
    return in_tokens * Fraction(price.model_ratio) * group * 1000


def book(**options: object) -> PriceBook:
    """A price book from option texts; anything that is not a text is written as JSON."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in options.items()}
    return PriceBook.from_settings(texts, version=7)


@given(prices, usages)
def test_a_cost_is_the_oracles_sum_rounded_once_half_up(price, usage):
    cost = price.cost(usage)

    assert cost.exact == oracle_mills(price, usage)
    assert cost.mills == price.cost_mills(usage) == floor(cost.exact + Fraction(1, 2))
    assert cost.quota == floor(cost.exact / 1000 + Fraction(1, 2))


@given(prices, usages, st.sampled_from(Usage.__struct_fields__), st.integers(1, 1_000))
def test_using_more_of_anything_never_costs_less(price, usage, name, more):
    larger = usage.plus(Usage(**{name: more}))

    assert price.cost_mills(larger) >= price.cost_mills(usage)


@given(
    prices, st.lists(counts, min_size=2, max_size=2).map(sorted), st.lists(counts, min_size=2, max_size=2).map(sorted)
)
def test_a_ceiling_is_never_below_the_cost_of_what_stays_within_its_bounds(price, input_counts, output_counts):
    usage = Usage(input=input_counts[0], output=output_counts[0] // 2, reasoning=output_counts[0] // 2)

    ceiling = price.ceiling_mills(input_counts[1], output_counts[1])

    assert ceiling >= price.cost_mills(usage)
    assert isinstance(ceiling, int)


@given(token_prices, counts, counts)
def test_a_ceiling_is_the_exact_price_of_its_bounds_rounded_up(price, input_tokens, output_tokens):
    exact = oracle_mills(price, Usage(input=input_tokens, output=output_tokens))

    assert price.ceiling_mills(input_tokens, output_tokens) == ceil(exact)


@given(usages, prices)
def test_the_lines_of_a_cost_are_the_classes_that_were_used(usage, price):
    lines = price.cost(usage).lines

    used = {name: getattr(usage, name) for name in Usage.__struct_fields__ if getattr(usage, name)}
    used.pop("calls", None)
    if not price.per_call:
        assert {line.kind: line.count for line in lines} == used
    assert all(line.mills == line.count * line.unit_mills for line in lines)


@given(prices)
def test_a_price_survives_the_event_that_keeps_it(price):
    kept = msgspec.json.encode(price)

    assert msgspec.json.decode(kept, type=Price) == price


@pytest.mark.parametrize(
    ("model", "group_ratio", "usage", "quota"),
    [
        ("gpt-4o", "1", Usage(input=1000, output=500), "3750"),
        ("gpt-4o", "1", Usage(input=800, cached_input=200, output=500), "3625"),
        ("gpt-4o", "0.5", Usage(input=1000, output=333), "1457.5"),
        ("gpt-4o", "1.37", Usage(input=1000, output=333), "3993.55"),
        ("gpt-4o", "1", Usage(input=100, audio_input=200, output=20), "475"),
        ("gpt-4o", "1", Usage(audio_output=10), "50"),
        ("o3-mini", "1", Usage(input=200, output=260, reasoning=640), "2090"),
        ("claude-sonnet-4-20250514", "1", Usage(1000, 5000, 2000, 0, 300), "8250"),
        ("claude-sonnet-4-20250514", "1", Usage(cache_write_1h=2000), "6000"),
        ("gpt-4o-audio-preview", "1", Usage(input=10, output=40, audio_input=100, audio_output=120), "17212.5"),
        ("gpt-4o-realtime-preview", "1", Usage(input=10, output=20, audio_input=100, audio_output=80), "13225"),
        ("deepseek-chat", "1", Usage(input=400, cached_input=600, output=100), "128.25"),
        ("whisper-1", "1", Usage(seconds=60), "15000"),
        ("tts-1", "1", Usage(characters=13), "97.5"),
        ("dall-e-3", "0.5", Usage(calls=3), "30000"),
        ("sandbox-1", "1", Usage(input=10, output=10), "30"),
    ],
)
def test_a_known_call_costs_what_the_family_charges(model, group_ratio, usage, quota):
    price = book(GroupRatio='{"g":' + group_ratio + "}").price(model, "g")

    assert price.cost(usage).exact == Fraction(quota) * MILLS_PER_QUOTA


@pytest.mark.parametrize(
    ("amount_mills", "quota"),
    [(0, 0), (400, 0), (499, 0), (500, 1), (600, 1), (1_500, 2), (2_499, 2), (2_500, 3), (80_500, 81)],
)
def test_a_charge_is_shown_in_quota_rounded_half_up(amount_mills, quota):
    assert quota_rounded(amount_mills) == quota


@pytest.mark.parametrize(("amount_mills", "quota"), [(999, 0), (1_000, 1), (1_999, 1), (-1, -1), (-1_000, -1)])
def test_a_balance_is_shown_in_quota_rounded_down(amount_mills, quota):
    assert quota_floored(amount_mills) == quota
    assert quota_floored(mills(quota)) == quota


def test_a_charge_in_quota_is_rounded_from_the_exact_sum_and_not_from_its_mills():
    price = book(ModelRatio='{"m":0.0001}').price("m", "default")

    cost = price.cost(Usage(input=24_999))

    assert (cost.mills, cost.quota) == (2_500, 2)
    assert quota_rounded(cost.mills) == 3


@given(st.fractions())
def test_the_text_of_a_ratio_is_exact_and_has_one_form(ratio):
    text = ratio_text(ratio)

    assert Fraction(text) == ratio
    assert ratio_text(Fraction(text)) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [("1.250", "1.25"), ("8/6", "4/3"), ("500000", "500000"), ("-0.05", "-0.05"), ("1e-9", "0.000000001"), ("0", "0")],
)
def test_the_text_of_a_ratio_is_short(ratio, text):
    assert ratio_text(Fraction(ratio)) == text


@given(st.fractions())
def test_half_up_is_the_nearest_whole_number(exact):
    assert round_half_up(exact) == floor(exact + Fraction(1, 2))


def test_an_explanation_shows_every_class_the_sum_and_the_rounding():
    price = book(ModelRatio='{"m":1.25}', CompletionRatio='{"m":4}', CacheRatio='{"m":0.5}').price("m", "default")

    lines = price.explain_lines(Usage(input=1000, cached_input=3, output=500))

    assert lines == [
        "1000 input x 1.25 x 1 (group) = 1,250,000 mills",
        "3 cached_input x 1.25 x 0.5 (cache) x 1 (group) = 1,875 mills",
        "500 output x 1.25 x 4 (completion) x 1 (group) = 2,500,000 mills",
        "sum 3,751,875 mills, rounded half up once: 3,751,875 mills (1 quota = 1,000 mills)",
    ]


def test_an_explanation_keeps_fractions_that_decimals_cannot_say():
    price = book(ModelRatio='{"gpt-3.5-x":0.0001}').price("gpt-3.5-x", "default")

    lines = price.explain_lines(Usage(input=5, output=1))

    assert lines == [
        "5 input x 0.0001 x 1 (group) = 0.5 mills",
        "1 output x 0.0001 x 4/3 (completion) x 1 (group) = 2/15 mills",
        "sum 19/30 mills, rounded half up once: 1 mills (1 quota = 1,000 mills)",
    ]


def test_an_explanation_of_a_price_per_call_shows_dollars_and_what_they_are_worth():
    price = book(ModelPrice='{"m":0.01}', GroupRatio='{"half":0.5}').price("m", "half")

    lines = price.explain_lines(Usage(input=9))

    assert lines[0] == "1 calls x 0.01 USD x 500000 (quota for 1 USD) x 0.5 (group) = 2,500,000 mills"


def test_a_price_per_call_is_taken_once_and_not_for_nothing():
    price = book(ModelPrice='{"m":0.01}').price("m", "default")

    assert price.cost_mills(Usage(input=1000, output=500)) == mills(5_000)
    assert price.cost_mills(Usage()) == 0
    assert price.ceiling_mills(1_000_000, 1_000_000) == mills(5_000)


def test_a_price_per_call_follows_the_worth_of_a_dollar():
    price = book(ModelPrice='{"m":0.5}', QuotaPerUnit="1000").price("m", "default")

    assert price.cost_mills(Usage(input=20)) == mills(500)


def test_a_price_per_call_wins_over_a_ratio():
    price = book(ModelPrice='{"m":0.01}', ModelRatio='{"m":3}').price("m", "default")

    assert (price.per_call, price.model_ratio) == ("0.01", "")


def test_a_saved_option_replaces_its_default_table_wholly():
    prices = book(ModelRatio='{"mine":2}')

    assert prices.is_priced("mine")
    assert not prices.is_priced("gpt-4o")
    assert prices.is_priced("dall-e-3")


def test_a_model_without_a_price_is_refused_by_name():
    with pytest.raises(Unpriced, match="no-such-model") as refusal:
        book().price("no-such-model", "default")

    assert refusal.value.model == "no-such-model"


def test_a_caller_that_accepts_unpriced_models_pays_the_fallback_and_nobody_else_does():
    prices = book()

    price = prices.price("no-such-model", "default", accept_unpriced=True)

    assert price.cost_mills(Usage(input=10, output=10)) == mills(750)
    with pytest.raises(Unpriced):
        prices.price("no-such-model", "default")


def test_self_use_mode_accepts_unpriced_models_for_all():
    price = book(SelfUseModeEnabled="true").price("no-such-model", "default")

    assert price.model_ratio == "37.5"


def test_a_group_without_a_ratio_pays_one():
    assert book(GroupRatio='{"vip":2}').price("gpt-4o", "other").group_ratio == "1"


def test_a_free_group_pays_nothing():
    price = book(GroupRatio='{"free":0}').price("gpt-4o", "free")

    assert price.cost_mills(Usage(input=1000, output=1000)) == 0


def test_numbers_of_an_option_are_exact():
    price = book(ModelRatio='{"m":0.1000000000000000055511151231257827}').price("m", "default")

    assert price.model_ratio == "0.1000000000000000055511151231257827"


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"m":NaN}', '{"m":-1}', '{"m":"1"}', '{"m":1e999999999}'])
def test_a_table_that_cannot_be_read_is_refused_by_its_key(text):
    with pytest.raises(InvalidSetting, match="ModelRatio"):
        book(ModelRatio=text)


def test_yuan_prices_are_not_rounded():
    assert book().price("ERNIE-4.0-8K", "default").model_ratio == ratio_text(Fraction("0.12") * 500 / Fraction("7.3"))


def test_a_default_table_that_is_saved_unchanged_stays_exact():
    saved = PriceBook.from_settings({"ModelRatio": REGISTRY["ModelRatio"].default}, version=7)

    assert saved.price("yi-large", "default") == book().price("yi-large", "default")


@pytest.mark.parametrize(
    ("model", "ratio"),
    [
        ("gpt-4o-2024-05-13", "3"),
        ("gpt-4o-mini", "4"),
        ("gpt-4.5-preview-2025-02-27", "2"),
        ("gpt-4-turbo-2024-04-09", "3"),
        ("gpt-4-1106", "3"),
        ("gpt-4-1106-preview", "2"),
        ("gpt-4", "2"),
        ("gpt-4o-all", "1"),
        ("gpt-4-gizmo-*", "1"),
        ("o1-pro", "4"),
        ("o3-mini-high", "4"),
        ("o4-mini", "4"),
        ("chatgpt-4o-latest", "3"),
        ("claude-3-7-sonnet-20250219-thinking", "5"),
        ("anthropic/claude-sonnet-4", "5"),
        ("claude-2.1", "3"),
        ("claude-haiku-4-5", "5"),
        ("gpt-3.5-turbo", "3"),
        ("gpt-3.5-turbo-0125", "3"),
        ("gpt-3.5-turbo-1106", "2"),
        ("gpt-3.5-turbo-instruct", "4/3"),
        ("mistral-large-latest", "3"),
        ("gemini-1.5-pro-latest", "4"),
        ("gemini-2.5-pro-preview-03-25", "8"),
        ("gemini-2.5-flash-preview-04-17-nothinking", "4"),
        ("gemini-2.5-flash-preview-04-17", "35/6"),
        ("gemini-2.0-flash", "4"),
        ("command-r-plus", "5"),
        ("command-r-plus-08-2024", "4"),
        ("command-light", "4"),
        ("DeepSeek-Chat", "4"),
        ("deepseek-coder", "1"),
        ("ERNIE-Speed-8K", "2"),
        ("llama3-70b-8192", "79/59"),
        ("gpt-5-mini", "8"),
        ("gpt-5.5", "6"),
        ("qwen-plus", "1"),
    ],
)
def test_output_costs_what_the_first_matching_rule_says(model, ratio):
    assert completion_ratio(model, {}) == Fraction(ratio)


def test_a_locked_rule_wins_over_the_operator_and_an_open_one_gives_way():
    configured = {"gpt-4o": Fraction(10), "gpt-4.1": Fraction(10)}

    assert completion_ratio("gpt-4o", configured) == 4
    assert completion_ratio("gpt-4.1", configured) == 10


def test_a_name_with_a_slash_asks_the_operator_first():
    configured = {"openrouter/gpt-4o": Fraction(10), "x/claude-3": Fraction(7)}

    assert completion_ratio("x/claude-3", configured) == 7
    assert completion_ratio("y/claude-3", configured) == 5
    assert completion_ratio("openrouter/gpt-4o", configured) == 10


def test_the_last_completion_rule_matches_every_name():
    assert COMPLETION_RULES[-1].test == "*"
    assert completion_ratio("", {}) == 1


def test_custom_gpts_share_the_row_of_their_kind():
    prices = book(ModelPrice="{}")

    assert prices.price("gpt-4-gizmo-g-1234", "default").model_ratio == "15"
    assert prices.price("gpt-4o-gizmo-g-1234", "default").completion_ratio == "3"
    assert book().price("gpt-4-gizmo-g-1234", "default").per_call == "0.1"


@pytest.mark.parametrize(
    ("model", "audio", "audio_completion"),
    [
        ("gpt-4o-audio-preview", "40", "2"),
        ("gpt-4o-audio-preview-2024-12-17", "16", "2"),
        ("gpt-4o-audio-mini", "200/3", "2"),
        ("gpt-4o-realtime-preview", "20", "2"),
        ("gpt-4o-realtime-preview-2024-12-17", "8", "2"),
        ("gpt-4o-mini-realtime-preview", "50/3", "2"),
        ("gpt-4o", "1", "4"),
        ("o3-mini", "1", "4"),
    ],
)
def test_audio_has_its_own_price_only_where_models_speak(model, audio, audio_completion):
    price = book(SelfUseModeEnabled="true").price(model, "default")

    assert (price.audio_ratio, price.audio_completion_ratio) == (audio, audio_completion)


def test_an_operator_can_set_cache_writes_and_audio_per_model():
    price = book(
        ModelRatio='{"m":1}', CacheWriteRatio='{"m":1.5}', AudioRatio='{"m":10}', AudioCompletionRatio='{"m":3}'
    ).price("m", "default")

    assert (price.cache_write_5m_ratio, price.cache_write_1h_ratio) == ("1.5", "2.4")
    assert (price.audio_ratio, price.audio_completion_ratio) == ("10", "3")


def test_a_price_is_pinned_to_the_version_of_its_book_and_made_once():
    prices = book()

    price = prices.price("gpt-4o", "vip")

    assert (price.model, price.group, price.book) == ("gpt-4o", "vip", 7)
    assert prices.price("gpt-4o", "vip") is price


def test_strange_groups_do_not_fill_the_memory():
    prices = book()

    for number in range(MAX_PRICES_KEPT + 10):
        prices.price("gpt-4o", f"group-{number}")

    last = f"group-{MAX_PRICES_KEPT + 9}"
    assert prices.price("gpt-4o", last) is not prices.price("gpt-4o", last)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o", 16_384),
        ("gpt-4o-2024-05-13", 4_096),
        ("gpt-4.1-mini", 32_768),
        ("gpt-4-turbo-preview", 4_096),
        ("o1-preview-2024-09-12", 32_768),
        ("o1", 100_000),
        ("gpt-5-nano", 128_000),
        ("claude-3-5-sonnet-20241022", 8_192),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("gemini-2.5-flash", 65_536),
        ("deepseek-chat", 8_192),
        ("m-test", None),
    ],
)
def test_the_longest_known_prefix_says_how_much_a_model_can_produce(model, tokens):
    assert known_max_output(model) == tokens


def test_prices_of_a_growing_bound_never_fall():
    price = book().price("gpt-3.5-turbo-instruct", "default")

    ceilings = [price.ceiling_mills(tokens, tokens) for tokens in range(0, 200, 7)]

    assert all(lower <= higher for lower, higher in pairwise(ceilings))
