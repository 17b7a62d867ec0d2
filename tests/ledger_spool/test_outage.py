"""The database goes away in the middle of calls: they end as they would have, nobody is charged twice, and no new call begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from domain.events import ChargeReleased, ChargeSettled
from ledger.spool import Spool, SpooledLedger, open_spool
from ledger.writer import Writer
from relay import sse
from relay.call import Call
from relay.upstream import Outgoing, Sending, Tap
from tests.laws.relay_desk import House, Script, ScriptedAnswer, ScriptedUpstream, open_house
from tests.laws.test_stream_laws import STATED, WORDS, choice, event, whole_stream
from tests.ledger_spool.faulty import Fault, FaultyStore

MILLS_PER_TOKEN = 1000
PRICE_MILLS = (STATED["prompt_tokens"] + STATED["completion_tokens"]) * MILLS_PER_TOKEN


class Pausing(ScriptedUpstream):
    """An upstream that stops before its third chunk, or before its body, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.paused, self.goes_on = asyncio.Event(), asyncio.Event()

    async def open(self, request: Outgoing, sending: Sending) -> ScriptedAnswer:
        await super().open(request, sending)
        self.answers[-1] = PausingAnswer(self, self.script)
        return self.answers[-1]


class PausingAnswer(ScriptedAnswer):
    def __init__(self, upstream: Pausing, script: Script) -> None:
        super().__init__(script)
        self._upstream, self._before = upstream, min(2, len(script.chunks) - 1)
        self._read = 0

    async def read_some(self, tap: Tap | None = None) -> bytes:
        if self._read == self._before:
            self._upstream.paused.set()
            await self._upstream.goes_on.wait()
        self._read += 1
        return await super().read_some()


class Outage:
    """A relay over a database that may go away, and what is under way when it does."""

    def __init__(self, house: House, store: FaultyStore, spool: Spool) -> None:
        self.house, self.store, self.spool = house, store, spool
        self.upstream = house.desk.upstream = Pausing()

    async def during(self, call: Call, fault: Fault | str) -> bytes:
        """What the client gets of a call in the middle of which the database goes away."""
        task = asyncio.ensure_future(self.house.carry(call))
        await self.upstream.paused.wait()
        self.goes(fault)
        self.upstream.goes_on.set()
        async with asyncio.timeout(10):
            return await task

    def goes(self, fault: Fault | str) -> None:
        if fault == "hangs":
            self.store.goes_on.clear()
        else:
            self.store.plan.extend(["lost"] if fault == "lost" else [])
            self.store.fault = "away"

    async def is_over(self) -> bool:
        self.store.plan.clear()
        self.store.fault = ""
        self.store.goes_on.set()
        return await asyncio.to_thread(self.spool.await_drained, 10)


@pytest.fixture(params=[4096, 10], ids=["held for", "outgrowing"])
def hold_output_tokens(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
async def outage(tmp_path: Path, hold_output_tokens: int) -> AsyncIterator[Outage]:
    house = open_house(tmp_path / "data", hold_output_tokens=hold_output_tokens)
    store = FaultyStore(tmp_path / "data")
    writer = Writer(store)
    spool = open_spool(tmp_path / "data" / "spool", writer, name="0001")
    house.desk.ledger = SpooledLedger(writer, spool, after_s=0.1, extend_within_s=0.1)
    yield Outage(house, store, spool)
    store.goes_on.set()
    await asyncio.to_thread(spool.close)
    writer.close()
    house.close()
    store.close()


FAULTS = pytest.mark.parametrize("fault", ["away", "lost", "hangs"])
HELD = pytest.mark.parametrize("hold_output_tokens", [4096], indirect=True)
OUTGROWN = pytest.mark.parametrize("hold_output_tokens", [10], indirect=True)


@FAULTS
@HELD
async def test_a_stream_is_given_to_its_end_and_charged_once(outage: Outage, fault: str) -> None:
    house, call = outage.house, outage.house.call()
    outage.upstream.script = Script(whole_stream(usage=True))

    got = await outage.during(call, fault)
    waiting = outage.spool.waiting

    assert (got.count(b"word"), got.endswith(sse.DONE), waiting) == (WORDS, True, 1)
    assert await outage.is_over()
    end = house.end_of(call)
    assert isinstance(end, ChargeSettled)
    assert (end.paid, end.ended_by) == (PRICE_MILLS, "complete")
    assert house.is_sound()
    assert house.desk.figures.paid_mills == PRICE_MILLS


@FAULTS
@HELD
async def test_an_answer_that_is_not_streamed_is_given_and_charged_once(outage: Outage, fault: str) -> None:
    house, call = outage.house, outage.house.call(stream=False)
    body = msgspec.json.encode(
        {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}], "usage": STATED}
    )
    outage.upstream.script = Script([body], content_type="application/json")

    got = await outage.during(call, fault)

    assert got == body
    assert await outage.is_over()
    end = house.end_of(call)
    assert (isinstance(end, ChargeSettled), house.is_sound()) == (True, True)


@FAULTS
@HELD
async def test_a_call_that_failed_gets_its_money_back_later(outage: Outage, fault: str) -> None:
    house, call = outage.house, outage.house.call(stream=False)
    outage.upstream.script = Script([b"no JSON"], content_type="application/json")

    got = await outage.during(call, fault)

    assert got == b"<Exhausted>"
    assert await outage.is_over()
    end = house.end_of(call)
    assert (isinstance(end, ChargeReleased), house.is_sound()) == (True, True)


@FAULTS
@OUTGROWN
async def test_a_stream_that_cannot_extend_is_ended_politely_and_charged_for_what_it_gave(
    outage: Outage, fault: str
) -> None:
    house, call = outage.house, outage.house.call(max_tokens=None)
    words = [event(choices=choice({"content": f"w{i} "})) for i in range(400)]
    outage.upstream.script = Script(words, ends="hang")

    got = await outage.during(call, fault)

    assert got.endswith(sse.DONE)
    assert b'"finish_reason":"length"' in got
    assert await outage.is_over()
    end = house.end_of(call)
    assert isinstance(end, ChargeSettled)
    assert (end.ended_by, end.written_off) == ("quota_end", 0)
    assert 8 <= end.usage.output <= 30
    assert house.is_sound()


@HELD
async def test_no_new_call_goes_upstream_and_all_go_again_when_the_database_is_back(outage: Outage) -> None:
    house = outage.house
    outage.upstream.script = Script(whole_stream(usage=True))
    outage.upstream.goes_on.set()
    outage.goes("away")

    refused = [await house.carry(house.call()) for _ in range(5)]
    reached = len(outage.upstream.answers)

    assert (refused, reached) == ([b"<Unavailable>"] * 5, 0)
    assert await outage.is_over()
    assert (await house.carry(house.call())).endswith(sse.DONE)
    assert house.is_sound()
