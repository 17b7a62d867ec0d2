"""For every cut of an upstream stream and every moment the client leaves: one end, and the price of what was produced."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.events import ChargeReleased, ChargeSettled
from relay import sse
from tests.laws.relay_desk import PROMPT_TOKENS, House, Script, open_house

MILLS_PER_TOKEN = 1000
WORDS = 12
STATED = {"prompt_tokens": 40, "completion_tokens": 30, "total_tokens": 70}


def event(**fields: object) -> bytes:
    made = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    return sse.event(msgspec.json.encode(made))


def choice(delta: dict[str, object], finish: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


def whole_stream(*, usage: bool) -> list[bytes]:
    words = [event(choices=choice({"content": f"word{i} "})) for i in range(WORDS)]
    stated = [event(choices=[], usage=STATED)] if usage else []
    return [
        event(choices=choice({"role": "assistant", "content": ""})),
        *words,
        event(choices=choice({}, "stop")),
        *stated,
        sse.DONE,
    ]


def words_in(data: bytes) -> int:
    """Words in the whole events of some bytes."""
    return sum(part.count(b"word") for part in data.split(b"\n\n")[:-1])


def expected_mills(seen: bytes, *, cut: bool) -> int:
    """What a stream costs of which upstream sent these bytes, and then went away (or ended, when not `cut`)."""
    if b'"usage":{' in seen and seen.endswith(b"\n\n") and b'"stop"' in seen:
        return (STATED["prompt_tokens"] + STATED["completion_tokens"]) * MILLS_PER_TOKEN
    if not cut and not words_in(seen):
        return 0
    return (PROMPT_TOKENS + words_in(seen)) * MILLS_PER_TOKEN


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = open_house(tmp_path_factory.mktemp("streams"), opening_mills=10**12)
    yield made
    made.close()


@pytest.mark.parametrize("usage", [True, False], ids=["usage stated", "usage not stated"])
def test_a_stream_cut_at_any_byte_ends_once_and_costs_what_had_come(house: House, usage: bool) -> None:
    data = b"".join(whole_stream(usage=usage))

    async def every_cut() -> None:
        for at in range(0, len(data) + 1, 3):
            house.upstream.script = Script([data[:at]] if at else [], ends="cut")
            before, call = house.balance(), house.call()
            await house.carry(call)
            end, paid = house.end_of(call), before - house.balance()
            finished = b'"stop"' in b"\n\n".join(data[:at].split(b"\n\n")[:-1])
            if at == 0:
                assert isinstance(end, ChargeReleased), at
                assert paid == 0, at
            else:
                assert isinstance(end, ChargeSettled), at
                whole_events = data[: data[:at].rfind(b"\n\n") + 2]
                assert paid == end.cost == expected_mills(whole_events, cut=not finished), at
                assert end.ended_by == ("complete" if finished else "upstream_cut"), at

    asyncio.run(every_cut())

    assert house.is_sound()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.booleans(), st.booleans())
def test_however_the_network_cuts_a_stream_into_chunks_it_costs_the_same(
    house: House, data: st.DataObject, usage: bool, include_usage: bool
) -> None:
    sent = b"".join(whole_stream(usage=usage))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=40)))
    chunks = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]

    house.upstream.script = Script(chunks)
    call = house.call(include_usage=include_usage)
    got = asyncio.run(house.carry(call))

    end = house.end_of(call)
    assert isinstance(end, ChargeSettled)
    assert end.paid == expected_mills(sent, cut=False)
    if usage == include_usage:
        assert got == sent
    assert words_in(got) == WORDS
    assert got.endswith(sse.DONE)
    assert got.count(b'"usage":{') == include_usage


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_client_may_leave_at_any_moment_and_the_hold_ends_once(house: House, stream: bool) -> None:
    chunks = whole_stream(usage=True)

    async def leave_after(turns: int) -> None:
        house.upstream.script = (
            Script(chunks, ends="hang") if stream else Script([], ends="hang", content_type="application/json")
        )
        call = house.call(stream=stream)
        task = asyncio.ensure_future(house.carry(call))
        for _ in range(turns):
            await asyncio.sleep(0)
        await house.held(call)
        for _ in range(turns):
            await asyncio.sleep(0)
        call.interrupt("client_left")
        await task
        end = house.end_of(call)
        if isinstance(end, ChargeReleased):
            assert end.why == "client_left"
        else:
            produced = (end.usage.input, end.usage.output)
            assert produced in {(PROMPT_TOKENS, n) for n in range(WORDS + 1)} | {(40, 30)}
            assert end.cost == sum(produced) * MILLS_PER_TOKEN

    async def every_moment() -> None:
        for turns in range(60):
            await leave_after(turns)

    asyncio.run(every_moment())

    assert house.is_sound()


@pytest.mark.parametrize("words", range(WORDS + 1))
def test_a_client_that_leaves_pays_the_input_and_the_words_it_was_sent(house: House, words: int) -> None:
    chunks = whole_stream(usage=False)[: words + 1]

    async def leave() -> ChargeSettled:
        house.upstream.script = script = Script(chunks, ends="hang")
        call = house.call()
        task = asyncio.ensure_future(house.carry(call))
        await script.reached.wait()
        call.interrupt("client_left")
        await task
        end = house.end_of(call)
        assert isinstance(end, ChargeSettled)
        return end

    end = asyncio.run(leave())

    assert (end.usage.input, end.usage.output, end.ended_by) == (PROMPT_TOKENS, words, "client_left")
    assert house.upstream.answers[-1].closed


def test_a_task_that_is_cancelled_at_any_moment_leaves_no_hold_open(house: House) -> None:
    async def cancel_after(turns: int) -> None:
        house.upstream.script = Script(whole_stream(usage=True), ends="hang")
        call = house.call()
        task = asyncio.ensure_future(house.carry(call))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert len(house.facts(call)) in (0, 2), turns

    async def every_moment() -> None:
        for turns in range(40):
            await cancel_after(turns)

    asyncio.run(every_moment())

    assert house.is_sound()


@pytest.mark.parametrize("how", ["cancelled", "left"])
def test_a_hold_that_is_growing_when_its_call_ends_is_ended_whole(tmp_path: Path, how: str) -> None:
    house = open_house(tmp_path, hold_output_tokens=2)
    words = [event(choices=choice({"content": f"w{i} "})) for i in range(40)]

    async def end_after(turns: int) -> None:
        house.upstream.script = Script(words, ends="hang")
        call = house.call(max_tokens=None)
        task = asyncio.ensure_future(house.carry(call))
        await house.held(call)
        for _ in range(turns):
            await asyncio.sleep(0)
        if how == "cancelled":
            task.cancel()
        else:
            call.interrupt("client_left")
        await asyncio.wait([task])

    async def every_moment() -> None:
        for turns in range(80):
            await end_after(turns)

    asyncio.run(every_moment())

    assert house.is_sound()
    house.close()


def test_a_stream_grows_its_hold_as_far_as_the_balance_and_is_then_ended_politely(tmp_path: Path) -> None:
    house = open_house(tmp_path, opening_mills=100 * MILLS_PER_TOKEN, hold_output_tokens=10)
    words = [event(choices=choice({"content": f"w{i} "})) for i in range(400)]
    house.upstream.script = Script(words, ends="hang")

    call = house.call(max_tokens=None)
    got = asyncio.run(house.carry(call))

    end = house.end_of(call)
    assert isinstance(end, ChargeSettled)
    assert (end.ended_by, end.written_off) == ("quota_end", 0)
    assert 80 <= end.usage.output <= 100
    assert house.extensions(call) >= 5
    assert b'"finish_reason":"length"' in got
    assert got.endswith(sse.DONE)
    assert house.balance() >= 0
    assert house.is_sound()
    house.close()


def test_what_an_upstream_spends_beyond_the_hold_is_paid_as_far_as_the_balance_goes(tmp_path: Path) -> None:
    house = open_house(tmp_path, opening_mills=100 * MILLS_PER_TOKEN)
    usage = {"prompt_tokens": 50, "completion_tokens": 1000}
    answer = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    house.upstream.script = Script([msgspec.json.encode(answer)], content_type="application/json")

    call = house.call(stream=False, max_tokens=10)
    asyncio.run(house.carry(call))

    end = house.end_of(call)
    assert isinstance(end, ChargeSettled)
    assert (end.cost, end.paid, end.written_off) == (1_050_000, 100_000, 950_000)
    assert house.balance() == 0
    assert house.is_sound()
    house.close()
