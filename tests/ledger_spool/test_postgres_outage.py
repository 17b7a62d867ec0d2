"""A real PostgreSQL is stopped at once in the middle of real calls, and started again: all of them end, and are charged once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.events import ChargeSettled
from ledger.postgres import PostgresStore
from ledger.spool import Spool, SpooledLedger, open_spool
from relay import sse
from relay.call import Call
from tests.harness.postgres import Server
from tests.laws.relay_desk import House, Script, open_house
from tests.laws.test_stream_laws import WORDS, choice, event, whole_stream
from tests.ledger_spool.test_outage import PRICE_MILLS, Pausing

CALLS = 24


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


class Served:
    """A relay on a ledger of its own in the server."""

    def __init__(self, server: Server, folder: Path, *, hold_output_tokens: int = 4096) -> None:
        self.server = server
        folder.mkdir(mode=0o700)
        store = PostgresStore(server.dsn(server.database()))
        self.house: House = open_house(folder, store=store, hold_output_tokens=hold_output_tokens)
        self.spool: Spool = open_spool(folder / "spool", self.house.writer, name="0001")
        self.house.desk.ledger = SpooledLedger(self.house.writer, self.spool, after_s=0.3, extend_within_s=0.3)
        self.upstream = self.house.desk.upstream = Pausing()

    async def calls_under_way(self, calls: list[Call]) -> list[asyncio.Task[bytes]]:
        tasks = [asyncio.ensure_future(self.house.carry(call)) for call in calls]
        for call in calls:
            await self.house.held(call)
        return tasks

    async def close(self) -> None:
        await asyncio.to_thread(self.spool.close)
        self.house.close()


async def test_streams_outlive_a_server_that_stops_at_once(server: Server, tmp_path: Path) -> None:
    served = Served(server, tmp_path / "data")
    served.upstream.script = Script(whole_stream(usage=True))
    calls = [served.house.call() for _ in range(CALLS)]
    tasks = await served.calls_under_way(calls)

    await asyncio.to_thread(server.stop, immediately=True)
    served.upstream.goes_on.set()
    async with asyncio.timeout(20):
        got = await asyncio.gather(*tasks)
    waiting = served.spool.waiting
    await asyncio.to_thread(server.start)

    assert all(answer.count(b"word") == WORDS and answer.endswith(sse.DONE) for answer in got)
    assert waiting == CALLS
    assert await asyncio.to_thread(served.spool.await_drained, 30)
    paid = [end.paid for call in calls if isinstance(end := served.house.end_of(call), ChargeSettled)]
    assert paid == [PRICE_MILLS] * CALLS
    assert served.house.is_sound()
    await served.close()


async def test_streams_that_outgrow_their_holds_while_it_is_away_end_politely_and_are_charged(
    server: Server, tmp_path: Path
) -> None:
    served = Served(server, tmp_path / "data", hold_output_tokens=10)
    served.upstream.script = Script([event(choices=choice({"content": f"w{i} "})) for i in range(400)], ends="hang")
    calls = [served.house.call(max_tokens=None) for _ in range(4)]
    tasks = await served.calls_under_way(calls)

    await asyncio.to_thread(server.stop, immediately=True)
    served.upstream.goes_on.set()
    async with asyncio.timeout(20):
        got = await asyncio.gather(*tasks)
    await asyncio.to_thread(server.start)

    assert all(b'"finish_reason":"length"' in answer and answer.endswith(sse.DONE) for answer in got)
    assert await asyncio.to_thread(served.spool.await_drained, 30)
    ends = [served.house.end_of(call) for call in calls]
    assert {end.ended_by for end in ends if isinstance(end, ChargeSettled)} == {"quota_end"}
    assert served.house.is_sound()
    await served.close()


async def test_a_server_that_stops_while_calls_settle_charges_each_once(server: Server, tmp_path: Path) -> None:
    served = Served(server, tmp_path / "data")
    served.upstream.script = Script(whole_stream(usage=True))
    served.upstream.goes_on.set()
    carried: list[tuple[Call, bytes]] = []

    async def customer() -> None:
        while len(carried) < 400 and not is_over.is_set():
            call = served.house.call()
            carried.append((call, await served.house.carry(call)))

    is_over = asyncio.Event()
    customers = [asyncio.ensure_future(customer()) for _ in range(16)]
    await asyncio.sleep(0.3)  # load of some commits: the moment is chance
    await asyncio.to_thread(server.stop, immediately=True)
    await asyncio.to_thread(server.start)
    is_over.set()
    await asyncio.gather(*customers)

    assert await asyncio.to_thread(served.spool.await_drained, 30)
    answered = [call for call, got in carried if got.endswith(sse.DONE)]
    assert len(answered) > 16
    assert all(isinstance(served.house.end_of(call), ChargeSettled) for call in answered)
    await served.close()
