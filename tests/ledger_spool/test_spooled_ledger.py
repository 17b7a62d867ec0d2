"""A call whose settlement the database does not take ends as it would have: its charge is durable, and is there once in the end."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from domain.books import Result
from domain.events import ChargeExtended, ChargeReleased, ChargeSettled
from domain.streams import extension
from ledger.errors import LedgerUnavailable
from ledger.spool import KEPT, Spool, SpooledLedger, open_spool
from ledger.spool_survey import survey
from ledger.verify import verify
from ledger.writer import Writer
from relay.credit import Hold, open_hold
from relay.errors import Unavailable
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.ledger_spool.books import Flushes, ends
from tests.ledger_spool.faulty import FaultyStore


async def test_a_settlement_that_the_database_takes_leaves_no_trace_in_the_spool(
    ledger: SpooledLedger, spool: Spool, store: FaultyStore, folder: Path
) -> None:
    hold = await opened(ledger, 0)

    result = await settled(hold, 30)

    assert result.status == "created"
    assert (spool.waiting, spool.drainer.drained) == (0, 0)
    assert [file.size_bytes for file in survey(folder).files] == [28]


@pytest.mark.parametrize("fault", ["away", "lost"])
async def test_a_settlement_that_fails_is_kept_at_once_and_charged_once(
    ledger: SpooledLedger, spool: Spool, store: FaultyStore, fault: str
) -> None:
    hold = await opened(ledger, 0)
    store.plan.append("away" if fault == "away" else "lost")
    store.fault = "away"

    result = await settled(hold, 30)
    waiting = spool.waiting
    store.fault = ""

    assert (result is KEPT, waiting) == (True, 1)
    assert await asyncio.to_thread(spool.await_drained, 5)
    assert ends(store, 0) == [ChargeSettled]
    assert verify(store).is_sound


async def test_a_release_that_fails_is_kept_and_given_back_later(
    ledger: SpooledLedger, spool: Spool, store: FaultyStore
) -> None:
    hold = await opened(ledger, 0)
    store.fault = "away"

    await hold.release("upstream_failed")
    store.fault = ""

    assert await asyncio.to_thread(spool.await_drained, 5)
    assert ends(store, 0) == [ChargeReleased]


async def test_a_settlement_that_is_not_answered_in_time_is_kept_and_the_late_commit_does_no_harm(
    ledger: SpooledLedger, spool: Spool, store: FaultyStore
) -> None:
    holds = [await opened(ledger, n) for n in range(20)]
    store.goes_on.clear()

    async with asyncio.timeout(5):
        results = await asyncio.gather(*(settled(hold, 30) for hold in holds))
    store.goes_on.set()

    assert results == [KEPT] * 20
    assert await asyncio.to_thread(spool.await_drained, 5)
    assert [ends(store, n) for n in range(20)] == [[ChargeSettled]] * 20
    assert verify(store).is_sound


async def test_an_extension_that_is_not_answered_in_time_fails_and_the_settlement_ends_it_all_the_same(
    ledger: SpooledLedger, spool: Spool, store: FaultyStore
) -> None:
    hold = await opened(ledger, 0)
    store.goes_on.clear()

    with pytest.raises(LedgerUnavailable):
        await hold.extend(500)
    result = await settled(hold, 1_200)
    store.goes_on.set()

    assert result is KEPT
    assert await asyncio.to_thread(spool.await_drained, 5)
    assert isinstance(store.read_stream(extension(calls.charge(0), 1))[0].fact, ChargeExtended)
    assert (ends(store, 0), verify(store).open_holds) == ([ChargeSettled], 0)


async def test_an_extension_whose_answer_was_lost_is_ended_with_its_hold(
    ledger: SpooledLedger, store: FaultyStore, spool: Spool
) -> None:
    hold = await opened(ledger, 0)
    store.plan.append("lost")

    with pytest.raises(LedgerUnavailable):
        await hold.extend(500)
    result = await settled(hold, 1_200)

    assert (result.status, getattr(result.fact, "held", 0)) == ("created", 1_500)
    assert (spool.waiting, verify(store).open_holds) == (0, 0)


async def test_a_task_that_is_cancelled_while_its_settlement_fails_has_it_kept(
    ledger: SpooledLedger, spool: Spool, store: FaultyStore
) -> None:
    hold = await opened(ledger, 0)
    store.goes_on.clear()
    store.fault = "away"

    task = asyncio.ensure_future(settled(hold, 30))
    await asyncio.sleep(0)
    task.cancel()
    store.goes_on.set()
    await asyncio.wait([task])
    store.fault = ""

    assert task.cancelled()
    assert await asyncio.to_thread(spool.await_drained, 5)
    assert ends(store, 0) == [ChargeSettled]


async def test_a_hold_is_never_kept(ledger: SpooledLedger, spool: Spool, store: FaultyStore) -> None:
    store.fault = "away"

    with pytest.raises(Unavailable):
        await opened(ledger, 0)

    assert (spool.waiting, store.read_stream(calls.charge(0))) == (0, [])


async def test_where_the_spool_cannot_keep_it_the_call_fails_as_it_does_without_one(
    ledger: SpooledLedger, spool: Spool, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = await opened(ledger, 0)
    monkeypatch.setattr("relay.credit.SETTLE_PAUSE_S", 0.01)
    Flushes(monkeypatch).error = OSError(errno.ENOSPC, "No space left on device")
    store.fault = "away"

    with pytest.raises(Unavailable):
        await settled(hold, 30)

    assert (spool.failed, spool.waiting, ends(store, 0)) == (4, 0, [])


async def test_where_the_spool_is_full_a_settlement_still_waits_for_the_database(
    folder: Path, writer: Writer, store: FaultyStore
) -> None:
    spool = open_spool(folder, writer, name="0001", limit_records=0)
    ledger = SpooledLedger(writer, spool, after_s=0.02)
    hold = await opened(ledger, 0)
    store.goes_on.clear()

    task = asyncio.ensure_future(settled(hold, 30))
    await asyncio.to_thread(eventually, lambda: spool.failed, bool)
    store.goes_on.set()

    assert (await task).status == "created"
    spool.close()


def test_a_loop_that_is_gone_does_not_keep_the_next_one_from_being_watched(
    ledger: SpooledLedger, spool: Spool, store: FaultyStore
) -> None:
    async def answered() -> None:
        await settled(await opened(ledger, 0), 30)

    async def unanswered() -> None:
        hold = await opened(ledger, 1)
        store.goes_on.clear()
        async with asyncio.timeout(5):
            assert await settled(hold, 30) is KEPT
        store.goes_on.set()

    asyncio.run(answered())
    asyncio.run(unanswered())

    assert spool.await_drained(5)
    assert [ends(store, n) for n in range(2)] == [[ChargeSettled]] * 2


async def opened(ledger: SpooledLedger, number: int) -> Hold:
    return await open_hold(ledger, calls.hold(1_000, calls.charge(number)))


async def settled(hold: Hold, cost: int) -> Result:
    return await hold.end(calls.settle(cost, hold.charge, extensions=hold.extensions))
