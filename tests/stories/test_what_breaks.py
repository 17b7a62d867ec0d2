"""However a call breaks, its hold ends once, the charge is the price of what was produced, and nothing hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import wire
from tests.harness.behaviours import Answer, Behaviour, Endless, Garbage, Gate, Refusal, Silence
from tests.harness.gateway import Customer, Gateway, chat_body
from tests.harness.leaving import hang_up
from tests.harness.upstream import Upstream

PROMPT = "Count every coin you find."
PROMPT_TOKENS = 13
PIECES = ("Three", " copper", " coins.")
PIECE_TOKENS = (1, 1, 2)
USAGE = wire.tokens(100, 50)
PRICE_MILLS = 150_000
IMPATIENT = {
    "FIRST_BYTE_TIMEOUT_S": "1",
    "STREAMING_TIMEOUT": "1",
    "TOTAL_TIMEOUT_S": "4",
    "TAIL_WAIT_S": "1",
    "MAX_ANSWER_MB": "1",
    "MAX_EVENT_KB": "64",
}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that waits a second where others wait a minute."""
    with Gateway(tmp_path_factory.mktemp("impatient") / "data", IMPATIENT) as running:
        yield running


def counted_mills(pieces: int) -> int:
    """The price of the prompt and so many pieces at ratio 1, by our own count."""
    return (PROMPT_TOKENS + sum(PIECE_TOKENS[:pieces])) * 1000


def leave(gateway: Gateway, upstream: Upstream, customer: Customer, model: str, events: int) -> None:
    """Hang up after so many events of a stream that goes no further."""
    hang_up(
        f"{gateway.url}/v1/chat/completions",
        customer.key,
        chat_body(model, PROMPT, stream=True),
        after_events=events,
        first=lambda: upstream.wait_for_calls(1, model=model),
    )


@pytest.mark.parametrize("events", range(5))
def test_a_client_that_leaves_pays_for_what_was_produced(gateway: Gateway, upstream: Upstream, events: int) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat_stream(PIECES, USAGE).held_before(events, Gate()), model=model)
    customer = gateway.customer()

    leave(gateway, upstream, customer, model, events)

    assert customer.spends(counted_mills(max(0, events - 1)))
    assert upstream.calls(model=model)[0].left_early


@pytest.mark.parametrize("ends", ["fin", "reset"])
def test_a_stream_that_breaks_before_its_first_event_costs_nothing(
    gateway: Gateway, upstream: Upstream, ends: str
) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(wire.chat_stream(PIECES).cut_after(0, "fin" if ends == "fin" else "reset"), model=model)
    customer = gateway.customer()

    with customer.streaming(model, PROMPT) as response:
        response.read()

    assert response.status_code == 502
    assert customer.spends(0)


@pytest.mark.parametrize("events", range(1, 5))
@pytest.mark.parametrize("ends", ["fin", "reset"])
def test_a_stream_that_is_cut_is_paid_as_far_as_it_came(
    gateway: Gateway, upstream: Upstream, events: int, ends: str
) -> None:
    gate = Gate()
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    cut = wire.chat_stream(PIECES, USAGE).cut_after(events, "fin" if ends == "fin" else "reset")
    upstream.always(cut.held_before(events, gate), model=model)
    customer = gateway.customer()

    with customer.streaming(model, PROMPT) as response:
        lines = response.iter_lines()
        for _ in range(events):
            next(line for line in lines if line.startswith("data: "))
        gate.open()
        rest = list(lines)

    assert "data: [DONE]" not in rest
    assert customer.spends(counted_mills(events - 1))


def test_a_stream_cut_after_its_finish_is_whole(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat_stream(PIECES).cut_after(5, "fin"), model=model)
    customer = gateway.customer()

    with customer.streaming(model, PROMPT) as response:
        lines = [line for line in response.iter_lines() if line]

    assert lines[-1] == "data: [DONE]"
    assert customer.spends(counted_mills(3))


def test_a_stream_cut_after_its_usage_is_paid_by_that_usage(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    script = wire.chat_stream(PIECES, USAGE)
    upstream.always(script.cut_after(len(script.events) - 1, "fin"), model=model)
    customer = gateway.customer()

    with customer.streaming(model, PROMPT) as response:
        response.read()

    assert customer.spends(PRICE_MILLS)


@pytest.mark.parametrize(
    "behaviour",
    [
        Answer(wire.chat(usage=USAGE).body, length_off_by=7),
        Answer(wire.chat(usage=USAGE).body, length_off_by=-7),
        Answer(wire.chat(usage=USAGE).body, cut_at=40, cut="fin"),
        Garbage(),
        Refusal(),
        Answer(b"<html>sign in</html>", content_type="text/html"),
        Answer(b'{"choices": [', content_type="application/json"),
        Answer(b"", content_type="application/json"),
    ],
    ids=["length too long", "length too short", "cut body", "no HTTP", "reset", "HTML", "half JSON", "nothing"],
)
def test_a_broken_whole_answer_is_a_502_and_costs_nothing(
    gateway: Gateway, upstream: Upstream, behaviour: Behaviour
) -> None:
    model = gateway.offer(upstream.url())
    upstream.always(behaviour, model=model)
    customer = gateway.customer()

    response = customer.chat(model, PROMPT)

    assert response.status_code == 502
    assert response.json()["error"]["message"]
    assert customer.spent_mills() == 0


def test_a_lie_about_the_length_does_not_harm_the_next_call(gateway: Gateway, upstream: Upstream) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.queue(Answer(wire.chat(usage=USAGE).body, length_off_by=-7), model=model)
    upstream.always(wire.chat(usage=USAGE), model=model)
    customer = gateway.customer()
    customer.chat(model, PROMPT)

    response = customer.chat(model, PROMPT)

    assert response.status_code == 200
    assert customer.spent_mills() == PRICE_MILLS


@pytest.mark.parametrize(
    "behaviour",
    [Silence(), Silence(after="head"), Endless(b" " * 65536), Endless(b" ", gap_s=0.2)],
    ids=["says nothing", "head only", "endless body", "endless drip"],
)
def test_an_upstream_that_never_ends_is_given_up_and_costs_nothing(
    impatient: Gateway, upstream: Upstream, behaviour: Behaviour
) -> None:
    model = impatient.offer(upstream.url())
    upstream.always(behaviour, model=model)
    customer = impatient.customer()

    response = customer.chat(model, PROMPT)

    assert response.status_code in {502, 504}
    assert customer.spends(0)
    assert upstream.calls(model=model)[0].wait_finished()


def test_a_stream_that_falls_silent_is_paid_as_far_as_it_came(impatient: Gateway, upstream: Upstream) -> None:
    model = impatient.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat_stream(PIECES).cut_after(3, "hang"), model=model)
    customer = impatient.customer()

    with customer.streaming(model, PROMPT) as response:
        response.read()

    assert customer.spends(counted_mills(2))


def test_a_stream_without_an_end_stops_where_the_money_does(impatient: Gateway, upstream: Upstream) -> None:
    model = impatient.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(Endless(wire.chunk({"content": " coin"}) * 20, "text/event-stream"), model=model)
    customer = impatient.customer(quota=6_000)

    with customer.streaming(model, PROMPT) as response:
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]

    assert '"length"' in lines[-2]
    assert lines[-1] == "data: [DONE]"
    assert 5_000_000 < customer.spent_mills() <= 6_000_000
    assert upstream.calls(model=model)[0].wait_finished()


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_ignores_max_tokens_cannot_push_a_balance_below_zero(
    gateway: Gateway, upstream: Upstream, stream: bool
) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    usage = wire.tokens(10, 100_000)
    upstream.always(wire.chat_stream(PIECES, usage) if stream else wire.chat(usage=usage), model=model)
    customer = gateway.customer(quota=1_000)

    response = customer.chat(model, PROMPT, max_tokens=10, stream=stream)

    explained = gateway.explain(response.headers["x-request-id"])
    assert response.status_code == 200
    assert customer.available_mills() == 0
    assert (explained["paid_mills"], explained["written_off_mills"]) == (1_000_000, 99_010_000)


def test_a_stream_of_comments_only_ends_with_the_calls_time(impatient: Gateway, upstream: Upstream) -> None:
    model = impatient.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(Endless(b": still here\n\n", "text/event-stream", gap_s=0.2), model=model)
    customer = impatient.customer()

    with customer.streaming(model, PROMPT) as response:
        response.read()

    assert upstream.calls(model=model)[0].wait_finished()
    assert customer.spends(counted_mills(0))


def test_an_event_without_an_end_is_given_up(impatient: Gateway, upstream: Upstream) -> None:
    model = impatient.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(Endless(b"data: " + b"x" * 32768, "text/event-stream"), model=model)
    customer = impatient.customer()

    with customer.streaming(model, PROMPT) as response:
        response.read()

    assert upstream.calls(model=model)[0].wait_finished()
    assert impatient.is_proven()


@pytest.mark.parametrize(
    "usage",
    [
        wire.tokens(-5, 10),
        wire.tokens(10, -1_000_000),
        wire.tokens(10**18, 1),
        wire.tokens("many", "few"),
        wire.tokens(None, None),
        wire.tokens([1], {"a": 1}),
        wire.tokens(10, 10, cached=11),
        "a lot",
        [1, 2],
    ],
    ids=[
        "negative in",
        "negative out",
        "huge",
        "words",
        "nulls",
        "wrong types",
        "more cached than there is",
        "text",
        "list",
    ],
)
def test_an_absurd_usage_is_never_believed(gateway: Gateway, upstream: Upstream, usage: object) -> None:
    model = gateway.offer(upstream.url(), ratio=1, completion=1)
    upstream.always(wire.chat("".join(PIECES), usage), model=model)
    customer = gateway.customer()

    response = customer.chat(model, PROMPT)

    assert response.status_code == 200
    assert customer.spent_mills() == counted_mills(3)
