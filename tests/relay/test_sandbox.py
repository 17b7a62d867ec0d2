import asyncio
import base64
import json
import math
import struct
from hashlib import sha256

import pytest

from relay import tokens
from relay.providers import sandbox
from relay.providers.sandbox import MAX_SENTENCE_TOKENS, MAX_TOKENS, MIN_TOKENS, WORDS, SandboxAnswer
from relay.upstream import AnswerTooLarge

FAST = 100_000.0
PLENTY_BYTES = 1 << 20
HELLO = [{"role": "user", "content": "Say hello to the ledger."}]

Body = dict[str, object]


async def asked(
    endpoint: str = "chat", fields: Body | None = None, *, stream: bool = False, pace: float = FAST
) -> SandboxAnswer:
    body = {"messages": HELLO} if endpoint == "chat" else {}
    return await sandbox.answer(
        {**body, **(fields or {})}, endpoint=endpoint, stream=stream, model="sandbox-1", tokens_per_s=pace
    )


async def whole(endpoint: str = "chat", **fields: object) -> Body:
    answer = await asked(endpoint, fields)
    decoded: Body = json.loads(await answer.read(PLENTY_BYTES))
    return decoded


async def events(endpoint: str = "chat", **fields: object) -> list[Body]:
    answer = await asked(endpoint, fields, stream=True)
    chunks = [chunk async for chunk in answer.chunks()]
    assert chunks[-1] == b"data: [DONE]\n\n"
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)
    return [json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks[:-1]]


def text_of(answer: Body, choice: int = 0) -> str:
    text: str = answer["choices"][choice]["message"]["content"]  # type: ignore[index]
    return text


def tokens_in(text: str) -> int:
    return tokens.count_text("sandbox-1", text)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
def test_every_word_is_one_token_with_its_space_and_without_and_as_the_first_of_a_sentence(model: str) -> None:
    words = [word for kind in WORDS.values() for word in kind]
    forms = [*(f" {word}" for word in words), *WORDS["determiners"], "."]
    capitals = [form for word in WORDS["determiners"] for form in (word.capitalize(), f" {word.capitalize()}")]

    assert {form: n for form in forms + capitals if (n := tokens.count_text(model, form)) != 1} == {}


def test_no_word_is_listed_twice_and_every_kind_has_some() -> None:
    assert set(WORDS) == {"determiners", "adjectives", "nouns", "verbs", "prepositions"}
    assert all(len(set(kind)) == len(kind) > 9 for kind in WORDS.values())


def test_texts_have_forty_to_a_hundred_and_twenty_tokens_and_end_with_a_sentence() -> None:
    texts = [sandbox.words(sha256(bytes([n])).digest()) for n in range(200)]

    assert all(MIN_TOKENS <= len(text) <= MAX_TOKENS and text[-1] == "." for text in texts)
    assert all(len(text) == tokens_in("".join(text)) for text in texts)
    assert max(len(text) for text in texts) > MAX_TOKENS - 2 * MAX_SENTENCE_TOKENS


async def test_the_usage_it_states_is_what_a_tokenizer_counts() -> None:
    answer = await whole()

    counted = tokens_in(text_of(answer))
    prompt = tokens.count_chat_prompt("sandbox-1", HELLO)
    assert answer["usage"] == {"prompt_tokens": prompt, "completion_tokens": counted, "total_tokens": prompt + counted}


async def test_the_same_request_gets_the_same_answer_and_another_seed_another() -> None:
    first, again, other = await whole(), await whole(), await whole(seed=7)

    assert text_of(first) == text_of(again) != text_of(other)
    assert (await whole(seed=7))["id"] == other["id"] != first["id"]


async def test_a_stream_says_the_same_as_the_whole_answer() -> None:
    answer, stream = await whole(seed=3), await events(seed=3)

    deltas = [event["choices"][0]["delta"] for event in stream]  # type: ignore[index]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == text_of(answer)
    assert stream[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]


async def test_a_stream_has_one_event_a_token() -> None:
    stream = await events()

    words = [event["choices"][0]["delta"]["content"] for event in stream[1:-1]]  # type: ignore[index]
    assert [tokens_in(word) for word in words] == [1] * len(words)


async def test_a_stream_states_usage_when_asked_and_only_then() -> None:
    quiet, asked_for = await events(), await events(stream_options={"include_usage": True})

    assert all("usage" not in event for event in quiet)
    assert [event["usage"] for event in asked_for[:-1]] == [None] * (len(asked_for) - 1)
    assert asked_for[-1]["choices"] == []
    assert asked_for[-1]["usage"] == (await whole(stream_options={"include_usage": True}))["usage"]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_limit_cuts_the_answer_at_exactly_so_many_tokens(limit: str) -> None:
    answer = await whole("chat", **{limit: 17})

    assert answer["choices"][0]["finish_reason"] == "length"  # type: ignore[index]
    assert answer["usage"]["completion_tokens"] == tokens_in(text_of(answer)) == 17  # type: ignore[index]


async def test_a_limit_above_the_answer_changes_nothing() -> None:
    answer = await whole(max_tokens=100_000)

    assert answer["choices"][0]["finish_reason"] == "stop"  # type: ignore[index]
    assert text_of(answer) == text_of(await whole())


async def test_several_choices_differ_and_are_counted_together() -> None:
    answer = await whole(n=3)

    texts = [text_of(answer, choice) for choice in range(3)]
    assert len(set(texts)) == 3
    assert answer["usage"]["completion_tokens"] == sum(tokens_in(text) for text in texts)  # type: ignore[index]


@pytest.mark.parametrize("prompt", ["Once upon a time", ["Once", "upon"], [15, 16, 17]])
async def test_a_completion_is_answered_in_its_own_shape(prompt: object) -> None:
    answer, stream = await whole("completions", prompt=prompt), await events("completions", prompt=prompt)

    texts = [event["choices"][0]["text"] for event in stream]  # type: ignore[index]
    assert answer["object"] == stream[0]["object"] == "text_completion"
    assert "".join(texts) == answer["choices"][0]["text"]  # type: ignore[index]
    assert answer["usage"]["prompt_tokens"] == tokens.count_prompt("sandbox-1", prompt)  # type: ignore[index]


@pytest.mark.parametrize(("given", "vectors"), [("a", 1), (["a", "b"], 2), ([15, 16], 1), ([[15], [16], [17]], 3)])
async def test_every_input_gets_one_unit_vector_of_256_numbers(given: object, vectors: int) -> None:
    answer = await whole("embeddings", input=given)

    data: list[Body] = answer["data"]  # type: ignore[assignment]
    lengths = [math.sqrt(math.fsum(x * x for x in each["embedding"])) for each in data]  # type: ignore[attr-defined]
    assert [len(each["embedding"]) for each in data] == [256] * vectors  # type: ignore[arg-type]
    assert lengths == pytest.approx([1.0] * vectors)
    assert answer["usage"] == {
        "prompt_tokens": vectors if given != [15, 16] else 2,
        "total_tokens": vectors if given != [15, 16] else 2,
    }


async def test_equal_inputs_get_equal_vectors_and_base64_holds_the_same_numbers() -> None:
    data: list[Body] = (await whole("embeddings", input=["a", "b", "a"]))["data"]  # type: ignore[assignment]
    packed: list[Body] = (await whole("embeddings", input="a", encoding_format="base64"))["data"]  # type: ignore[assignment]

    unpacked = struct.unpack("<256f", base64.b64decode(str(packed[0]["embedding"])))
    assert data[0]["embedding"] == data[2]["embedding"] != data[1]["embedding"]
    assert list(unpacked) == pytest.approx(data[0]["embedding"], abs=1e-7)


async def test_more_inputs_than_the_vendor_takes_are_refused_in_its_words() -> None:
    answer = await asked("embeddings", {"input": ["a"] * 2049})

    error = json.loads(await answer.read(PLENTY_BYTES))["error"]
    assert answer.status == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", "input")


@pytest.mark.parametrize("stream", [True, False])
async def test_the_answer_comes_at_the_pace_that_was_asked_for(stream: bool) -> None:
    loop = asyncio.get_running_loop()
    answer = await asked(stream=stream, pace=200, fields={"max_tokens": 20})
    began = loop.time()

    body = b"".join([chunk async for chunk in answer.chunks()])

    assert body
    assert 0.08 <= loop.time() - began < 2.0


async def test_a_wait_that_is_cancelled_loses_nothing_of_the_answer() -> None:
    answer = await asked(stream=True, pace=5, fields={"max_tokens": 1})
    first = await answer.read_some()
    waiting = asyncio.ensure_future(answer.read_some())
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert b'"role":"assistant"' in first
    assert b'"content":"' in await answer.read_some()


async def test_nothing_comes_after_it_was_closed() -> None:
    answer = await asked(stream=True)
    await answer.read_some()

    answer.close()
    answer.close()

    assert await answer.read_some() == b""


async def test_a_body_above_the_limit_is_refused() -> None:
    answer = await asked()

    with pytest.raises(AnswerTooLarge):
        await answer.read(100)


@pytest.mark.parametrize(
    "body", [{"messages": None}, {"messages": 7, "n": "many", "max_tokens": -3, "stream_options": 1}]
)
async def test_a_request_of_another_shape_is_answered_all_the_same(body: Body) -> None:
    answer = await whole("chat", **body)

    assert tokens_in(text_of(answer)) >= MIN_TOKENS
