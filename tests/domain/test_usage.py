"""Upstream numbers are data from a stranger: they become disjoint classes that re-add to the whole, or are refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.usage import MAX_COUNT_PER_CALL, AbsurdUsage, Usage

counts = st.integers(0, MAX_COUNT_PER_CALL)


@st.composite
def openai_usages(draw):
    """A whole on each side and parts that are each at most the whole, overlapping or not."""
    prompt, completion = draw(counts), draw(counts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {
            "cached_tokens": draw(st.integers(0, prompt)),
            "audio_tokens": draw(st.integers(0, prompt)),
        },
        "completion_tokens_details": {
            "reasoning_tokens": draw(st.integers(0, completion)),
            "audio_tokens": draw(st.integers(0, completion)),
        },
    }


@given(openai_usages())
def test_the_classes_of_an_openai_usage_add_up_to_its_wholes(stated):
    usage = Usage.from_openai(stated)

    assert usage.check() is usage
    assert usage.input_total == stated["prompt_tokens"]
    assert usage.output_total == stated["completion_tokens"]


@given(openai_usages())
def test_the_names_of_the_responses_api_mean_the_same(stated):
    renamed = {
        "input_tokens": stated["prompt_tokens"],
        "output_tokens": stated["completion_tokens"],
        "input_tokens_details": stated["prompt_tokens_details"],
        "output_tokens_details": stated["completion_tokens_details"],
    }

    assert Usage.from_openai(renamed) == Usage.from_openai(stated)


def test_cached_audio_and_reasoning_tokens_are_taken_out_of_their_whole():
    stated = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 15, "audio_tokens": 5},
    }

    usage = Usage.from_openai(stated)

    assert usage == Usage(input=50, cached_input=30, audio_input=20, output=30, reasoning=15, audio_output=5)


def test_audio_that_was_cached_counts_once_as_cached():
    stated = {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 80, "audio_tokens": 60}}

    assert Usage.from_openai(stated) == Usage(cached_input=80, audio_input=20)


def test_the_cache_of_deepseek_is_read_beside_the_prompt():
    stated = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "prompt_cache_hit_tokens": 60,
        "prompt_cache_miss_tokens": 40,
    }

    assert Usage.from_openai(stated) == Usage(input=40, cached_input=60, output=7)


def test_reasoning_stated_beside_the_completion_is_added_when_the_total_shows_it():
    stated = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 35,
        "completion_tokens_details": {"reasoning_tokens": 20},
    }

    assert Usage.from_openai(stated) == Usage(input=10, output=5, reasoning=20)


def test_a_usage_with_only_a_total_is_all_input():
    assert Usage.from_openai({"total_tokens": 815}) == Usage(input=815)


@pytest.mark.parametrize(
    ("stated", "count"),
    [(12, 12), (12.0, 12), (12.5, 12), ("12", 12), ("0012", 12), (None, 0), (0, 0), (MAX_COUNT_PER_CALL, 100_000_000)],
)
def test_a_count_may_be_an_integer_a_float_or_a_text_of_digits(stated, count):
    usage = Usage.from_openai({"prompt_tokens": stated, "completion_tokens": 1})

    assert usage == Usage(input=count, output=1)


@pytest.mark.parametrize(
    "stated",
    [
        -1,
        -0.5,
        True,
        "",
        "-1",
        "1.5",
        "1e3",
        "twelve",
        "1" * 21,
        "१२",
        [],
        {},
        math.nan,
        math.inf,
        1e300,
        MAX_COUNT_PER_CALL + 1,
        pytest.param(10**6000, id="endless digits"),
        pytest.param([10**6000], id="endless digits in a list"),
    ],
)
def test_what_is_not_a_possible_count_is_refused(stated):
    with pytest.raises(AbsurdUsage, match="prompt_tokens"):
        Usage.from_openai({"prompt_tokens": stated, "completion_tokens": 1})


@pytest.mark.parametrize(
    "stated",
    [
        {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens": 10, "prompt_tokens_details": {"audio_tokens": 11}},
        {"prompt_tokens": 10, "prompt_cache_hit_tokens": 11},
        {"completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 11}},
        {"completion_tokens": 10, "completion_tokens_details": {"audio_tokens": 11}},
        {"prompt_tokens": 0, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 1}},
        {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens": 10, "prompt_tokens_details": [1]},
        {"prompt_tokens": 10, "completion_tokens_details": "many"},
    ],
)
def test_a_part_that_is_larger_than_its_whole_or_no_number_is_refused(stated):
    with pytest.raises(AbsurdUsage):
        Usage.from_openai(stated)


def test_reasoning_beside_the_completion_cannot_lift_it_above_the_limit():
    stated = {
        "prompt_tokens": 0,
        "completion_tokens": 60_000_000,
        "total_tokens": 100_000_001,
        "completion_tokens_details": {"reasoning_tokens": 40_000_001},
    }

    with pytest.raises(AbsurdUsage):
        Usage.from_openai(stated)


def test_details_that_are_null_say_nothing():
    stated = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }

    assert Usage.from_openai(stated) == Usage(input=3, output=2)


def test_explicit_zeros_are_an_empty_usage():
    details = {"cached_tokens": 0, "audio_tokens": 0, "reasoning_tokens": 0}
    stated = {
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        "prompt_tokens_details": details,
        "completion_tokens_details": details,
    }

    usage = Usage.from_openai(stated)

    assert usage.is_empty
    assert usage == Usage()


@pytest.mark.parametrize("name", Usage.__struct_fields__)
def test_a_usage_with_anything_in_it_is_not_empty(name):
    assert not Usage(**{name: 1}).is_empty


@pytest.mark.parametrize("name", Usage.__struct_fields__)
@pytest.mark.parametrize("count", [-1, MAX_COUNT_PER_CALL + 1])
def test_a_count_out_of_bounds_is_named(name, count):
    with pytest.raises(AbsurdUsage, match=name):
        Usage(**{name: count}).check()


def test_counts_at_the_limit_pass_though_their_bits_together_are_above_it():
    usage = Usage(input=MAX_COUNT_PER_CALL, output=MAX_COUNT_PER_CALL - 1, cached_input=67_108_864)

    assert usage.check() is usage


@given(st.lists(counts, min_size=13, max_size=13), st.lists(counts, min_size=13, max_size=13))
def test_adding_two_usages_adds_each_class(left, right):
    total = Usage(*left).plus(Usage(*right))

    assert total == Usage(*[a + b for a, b in zip(left, right, strict=True)])
