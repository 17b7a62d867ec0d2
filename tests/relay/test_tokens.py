import gzip
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from relay import tokens
from relay.tokens import Counter, count_chat_prompt, count_prompt, count_text, encoding_name

O200K, CL100K = "gpt-4o", "gpt-4"
NOTHING_OF_THE_PACKAGE = """
import sys
from relay.tokens import count_text
assert "tiktoken" not in sys.modules, "tiktoken is loaded when something is counted, not before"
count_text("gpt-4", "Count the coins.")
assert not any(name.partition(".")[0] == "bpe_openai" for name in sys.modules), "only its files are read"
"""

TEXTS = [
    "Say hello to the ledger.",
    "你好，账本！",
    "def f(x):\n\treturn  x ** 2  \n\n",
    "ÀÉ naïve 🎉🎉 12345678",
    "A" * 500,
]
ANOTHER_TOKENIZER = """
import bpe_openai, json, sys
texts = json.load(sys.stdin)
print(json.dumps([[len(bpe_openai.get_encoding(name).encode_ordinary(text)) for text in texts] for name in ("o200k_base", "cl100k_base")]))
"""


@pytest.fixture
async def counter() -> AsyncIterator[Counter]:
    made = Counter()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("model", "text", "expected"),
    [
        (O200K, "", 0),
        (O200K, "Say hello to the ledger.", 6),
        (CL100K, "Say hello to the ledger.", 6),
        (O200K, "你好，账本！", 5),
        (CL100K, "你好，账本！", 6),
        (O200K, "<|endoftext|>", 7),
    ],
)
def test_a_text_has_the_tokens_that_its_models_encoding_gives_it(model: str, text: str, expected: int) -> None:
    assert count_text(model, text) == expected


def test_counts_agree_with_an_independent_tokenizer() -> None:
    other = subprocess.run(
        [sys.executable, "-c", ANOTHER_TOKENIZER], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )

    assert json.loads(other.stdout) == [[count_text(model, text) for text in TEXTS] for model in (O200K, CL100K)]


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "chatgpt-4o-latest", "o1", "o3-mini", "o4-mini", "gpt-4.1", "gpt-4.5-x", "gpt-5"]
)
def test_openais_newer_models_use_the_larger_encoding(model: str) -> None:
    assert encoding_name(model) == "o200k_base"


@pytest.mark.parametrize("model", ["gpt-4", "gpt-3.5-turbo", "claude-sonnet-4", "text-embedding-3-small", "a-stranger"])
def test_every_other_model_is_counted_with_the_older_one(model: str) -> None:
    assert encoding_name(model) == "cl100k_base"


def test_counting_reads_the_rank_file_and_imports_nothing_of_the_package_that_ships_it() -> None:
    done = subprocess.run([sys.executable, "-c", NOTHING_OF_THE_PACKAGE], capture_output=True, text=True, check=False)

    assert done.stderr == ""


def test_a_long_text_is_counted_as_if_in_one_piece() -> None:
    sentence = " The quiet river carries every letter." * 6_000

    assert len(sentence) > 3 * tokens.SLICE_CHARACTERS
    assert count_text(O200K, sentence) == 6_000 * count_text(O200K, " The quiet river carries every letter.")


def test_a_run_of_blanks_that_would_break_the_encoder_is_counted() -> None:
    assert 0 < count_text(O200K, " " * 3_000_000) < 1_000_000


def test_what_is_beyond_the_bound_is_taken_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_COUNTED_BYTES", 8)

    assert count_text(O200K, " the the the the the") == 2 + 3


def test_the_bound_is_one_for_a_whole_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_COUNTED_BYTES", 8)

    assert count_prompt(O200K, [" the the", " the the"]) == 2 + 2


def test_a_chat_costs_three_a_message_and_three_at_the_end() -> None:
    messages = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Say hello to the ledger."},
    ]

    assert count_chat_prompt(O200K, messages) == (3 + 1 + 4) + (3 + 1 + 6) + 3


def test_a_name_costs_one_and_its_tokens() -> None:
    named = [{"role": "user", "name": "river", "content": "Hello"}]
    unnamed = [{"role": "user", "content": "Hello"}]

    assert count_chat_prompt(O200K, named) - count_chat_prompt(O200K, unnamed) == 1 + count_text(O200K, "river")


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "Hello"}, 1),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9_000}}, 765),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}, 85),
        ({"type": "input_audio", "input_audio": {"data": "A" * 9_000, "format": "wav"}}, 100),
        ({"type": "file", "file": {"file_data": "A" * 9_000}}, 5000),
        ({"type": "something new", "data": "A" * 9_000}, 0),
        ("not even a part", 0),
    ],
)
def test_a_part_costs_its_text_or_a_fixed_count(part: object, expected: int) -> None:
    assert count_chat_prompt(O200K, [{"role": "user", "content": [part]}]) == (3 + 1 + expected) + 3


def test_every_tool_costs_eight_and_its_json() -> None:
    tool = {"type": "function", "function": {"name": "get_weather"}}
    text = '{"type":"function","function":{"name":"get_weather"}}'

    with_tools = count_chat_prompt(O200K, [], [tool, tool])

    assert with_tools - count_chat_prompt(O200K, []) == 2 * (8 + count_text(O200K, text))


def test_the_tool_calls_of_an_earlier_answer_are_input_too() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Bern"}'}}

    counted = count_chat_prompt(O200K, [{"role": "assistant", "content": None, "tool_calls": [call]}])

    assert counted == 3 + 1 + count_text(O200K, "get_weather") + count_text(O200K, '{"city":"Bern"}') + 3


@pytest.mark.parametrize("messages", [None, "text", 7, [None, 7, "text"], {"role": "user"}])
def test_what_has_another_shape_counts_nothing_and_breaks_nothing(messages: object) -> None:
    assert count_chat_prompt(O200K, messages) == 3


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("Hello", 1), (["Hello", "Hello"], 2), ([15, 16, 17], 3), ([[15, 16], [17]], 3), (None, 0), ({"a": 1}, 0)],
)
def test_a_prompt_is_a_text_or_token_ids_or_a_list_of_either(prompt: object, expected: int) -> None:
    assert count_prompt(O200K, prompt) == expected


async def test_the_counter_counts_in_a_thread_of_its_own(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    honest = tokens._counting

    def watched(model: str) -> tokens.Count:
        seen.append(threading.current_thread().name)
        return honest(model)

    monkeypatch.setattr(tokens, "_counting", watched)

    assert await counter.text(O200K, "Say hello to the ledger.") == 6
    assert seen == ["token-counter_0"]


async def test_the_counter_tells_messages_from_other_prompts(counter: Counter) -> None:
    as_chat = await counter.prompt(O200K, [{"role": "user", "content": "Hello"}], None)
    as_text = await counter.prompt(O200K, "Hello")

    assert (as_chat, as_text) == (3 + 1 + 1 + 3, 1)


async def test_when_too_many_wait_a_count_is_an_estimate_by_size() -> None:
    counter = Counter(waiting_limit=0)

    assert await counter.text(O200K, "x" * 41) == 11
    assert counter.estimated == 1


async def test_without_ranks_a_count_is_an_estimate_so_that_the_call_can_be_settled(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_name: str) -> bytes:
        raise tokens.MissingRanks("the ranks are missing")

    tokens._loaded.cache_clear()
    monkeypatch.setattr(tokens, "_rank_file", missing)

    assert await counter.text(O200K, "x" * 41) == 11
    assert counter.estimated == 1


def test_ranks_that_are_not_openais_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens._loaded.cache_clear()
    monkeypatch.setattr(tokens, "_rank_file", lambda _name: gzip.compress(b"IQ== 0\n"))

    with pytest.raises(tokens.MissingRanks, match="not OpenAI's"):
        count_text(O200K, "Hello")
