"""The writer answers every command once and after its commit, whatever its neighbours, its callers or the disk do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from domain.books import Result
from domain.commands import Append, Command, Part
from domain.events import SettingChanged
from domain.streams import setting
from ledger.errors import LedgerClosed, LedgerUnavailable, QueueFull
from ledger.verify import verify
from ledger.writer import Writer
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.laws.seeds import chance
from tests.ledger.places import Place, Store

MANY = 64


async def test_what_queued_during_a_commit_is_committed_together(writer: Writer, place: Place) -> None:
    await writer.submit(calls.customer(grant=10**6))

    with place.locked():
        first = writer.submit(calls.hold(1, calls.charge(0)))
        await until_taken(writer)
        rest = [writer.submit(calls.hold(1, calls.charge(n))) for n in range(1, MANY + 1)]
    results = await asyncio.gather(first, *rest)

    assert {result.status for result in results} == {"created"}
    assert (writer.commits, writer.commands) == (3, MANY + 2)


async def test_a_poison_command_fails_alone_and_its_neighbours_are_committed_in_order(
    writer: Writer, place: Place
) -> None:
    await writer.submit(calls.customer(grant=10**6))
    poisoned = set(chance("poison").sample(range(MANY), 3))

    async with queueing(writer, place):
        futures = [writer.submit(poison() if n in poisoned else calls.hold(1, calls.charge(n))) for n in range(MANY)]
    answers = await asyncio.gather(*futures, return_exceptions=True)

    failed = {n for n, answer in enumerate(answers) if isinstance(answer, AssertionError)}
    assert failed == poisoned
    assert {answer.status for answer in answers if isinstance(answer, Result)} == {"created"}
    held = [recorded.stream for recorded in writer.store.read_log(2, 1_000)]
    assert held == [calls.charge(n) for n in range(MANY) if n not in poisoned]
    assert verify(writer.store).is_sound


async def test_a_full_queue_refuses_at_once_and_takes_again_when_it_has_drained(store: Store, place: Place) -> None:
    writer = Writer(store, queue_limit=8)
    await writer.submit(calls.customer(grant=10**6))

    with place.locked():
        taken = [writer.submit(calls.hold(1, calls.charge(n))) for n in range(8)]
        with pytest.raises(QueueFull):
            await writer.submit(calls.hold(1, calls.charge(99)))
    answers = await asyncio.gather(*taken)

    assert {answer.status for answer in answers} == {"created"}
    assert (await writer.submit(calls.hold(1, calls.charge(99)))).status == "created"
    assert writer.waiting == 0
    writer.close()


async def test_closing_commits_what_is_queued_and_refuses_what_comes_later(writer: Writer, place: Place) -> None:
    await writer.submit(calls.customer(grant=10**6))

    async with queueing(writer, place):
        queued = [writer.submit(calls.hold(1, calls.charge(n))) for n in range(MANY)]
        closing = asyncio.create_task(asyncio.to_thread(writer.close))
        await asyncio.to_thread(eventually, lambda: writer.is_alive, lambda alive: not alive)
        with pytest.raises(LedgerClosed):
            await writer.submit(calls.hold(1, calls.charge(99)))
    await closing

    assert {(await future).status for future in queued} == {"created"}
    assert len(writer.store.open_holds()) == MANY


def test_a_command_that_meets_the_closing_in_its_way_is_answered(store: Store) -> None:
    """Between the look at whether the writer is closed and the queueing, it closes."""
    writer = Writer(store)
    writer._count_lock = ClosesFirst(writer)  # type: ignore[assignment]

    with pytest.raises(LedgerClosed):
        writer.submit_blocking(calls.customer(), timeout_s=2)

    assert store.head() == 0


async def test_what_a_turn_of_the_loop_submits_is_committed_together(writer: Writer) -> None:
    eventually(lambda: writer._is_idle, bool)

    futures = [writer.submit(calls.customer(f"user {n}")) for n in range(MANY)]
    await asyncio.gather(*futures)

    assert (writer.commits, writer.commands) == (1, MANY)


def test_closing_commits_what_a_loop_submitted_in_a_turn_that_never_ended(store: Store) -> None:
    writer = Writer(store)
    in_a_last_turn(writer, calls.customer())

    writer.close()

    assert store.head() == 1


def test_a_command_whose_turn_never_ended_is_committed_with_the_next_one(writer: Writer) -> None:
    in_a_last_turn(writer, calls.customer())

    asyncio.run(answered(writer, calls.customer("bob")))

    assert (writer.commits, writer.store.head()) == (1, 2)


def test_a_thread_wakes_a_writer_that_a_loop_is_about_to_wake(writer: Writer) -> None:
    async def in_one_turn() -> list[Result]:
        future = writer.submit(calls.customer())
        other = writer.submit_blocking(calls.customer("bob"), timeout_s=2)
        third = writer.submit(calls.customer("carol"))
        return [await future, other, await third]

    answers = asyncio.run(in_one_turn())

    assert [answer.status for answer in answers] == ["created"] * 3


def test_a_listener_that_fails_does_not_stop_the_ledger(store: Store) -> None:
    def fails(_: Sequence[Result]) -> None:
        raise RuntimeError("the listener is broken")

    writer = Writer(store, on_commit=fails)

    answers = [writer.submit_blocking(calls.customer(name), timeout_s=2) for name in ("ada", "bob")]

    assert [answer.status for answer in answers] == ["created", "created"]
    writer.close()


def test_a_loop_that_closes_at_the_moment_of_the_answer_does_not_stop_the_ledger(
    writer: Writer, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(loop, "is_closed", lambda: False)  # what the writer saw a moment before
    with place.locked():
        loop.run_until_complete(submitted(writer, calls.customer()))
        eventually(lambda: len(writer._queue), lambda queued: not queued)
        loop.close()

    answer = writer.submit_blocking(calls.customer("bob"), timeout_s=2)

    assert answer.status == "created"
    assert writer.store.head() == 2


async def test_a_caller_that_gives_up_waiting_undoes_nothing(writer: Writer, place: Place) -> None:
    await writer.submit(calls.customer(grant=100))

    with place.locked():
        future = writer.submit(calls.hold(60))
        future.cancel()
    after = await writer.submit(calls.hold(60, calls.charge(2)))

    assert after.status == "insufficient"
    assert [hold.charge for hold in writer.store.open_holds()] == [calls.FIRST]


async def test_a_task_that_is_cancelled_while_it_waits_goes_on_when_the_outcome_is_known(
    writer: Writer, place: Place
) -> None:
    await writer.submit(calls.customer(grant=100))
    seen: list[object] = []

    async def hold() -> None:
        future = writer.submit(calls.hold(1))
        try:
            await future
        except asyncio.CancelledError:
            seen.append(future.result().status)
            raise

    with place.locked():
        task = asyncio.create_task(hold())
        await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        waits = not task.done()
    await asyncio.wait([task])

    assert waits
    assert seen == ["created"]
    assert task.cancelled()


def test_each_loop_is_answered_in_its_own_thread_whoever_asked_before(writer: Writer) -> None:
    writer.submit_blocking(calls.customer(grant=10**6))

    async def ask(first: int) -> set[int]:
        threads: set[int] = set()
        for n in range(200):
            future = writer.submit(calls.hold(1, calls.charge(first + n)))
            future.add_done_callback(lambda _: threads.add(threading.get_ident()))
            assert future.get_loop() is asyncio.get_running_loop()
            await future
        return threads | {threading.get_ident()}

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(asyncio.run, ask(1_000 * n)) for n in range(3)]
        threads = [task.result() for task in asked]

    assert [len(one) for one in threads] == [1, 1, 1]


async def test_no_command_is_answered_before_it_can_be_read_by_another_process(writer: Writer, place: Place) -> None:
    other = place.open()

    for n in range(20):
        result = await writer.submit(calls.customer(f"user {n}"))
        assert other.head() == result.id

    other.close()


async def test_a_disk_that_fails_is_said_to_everybody_waiting_and_the_next_try_is_new(
    writer: Writer, place: Place
) -> None:
    await writer.submit(calls.customer(grant=100))
    with place.broken():
        waiting = [writer.submit(calls.hold(1, calls.charge(n))) for n in range(8)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(answer) for answer in answers] == [LedgerUnavailable] * 8
    assert (await writer.submit(calls.hold(1))).status == "created"


def test_threads_and_loops_may_ask_the_same_writer(writer: Writer) -> None:
    writer.submit_blocking(calls.customer(grant=300))

    async def hold_all(first: int) -> list[Result]:
        return await asyncio.gather(*(writer.submit(calls.hold(1, calls.charge(first + n))) for n in range(100)))

    with ThreadPoolExecutor(4) as pool:
        loops = [pool.submit(asyncio.run, hold_all(1_000 * n)) for n in (1, 2)]
        blocking: list[Future[Result]] = [
            pool.submit(writer.submit_blocking, calls.hold(1, calls.charge(n))) for n in range(150)
        ]
        statuses = [r.status for loop in loops for r in loop.result()] + [b.result().status for b in blocking]

    assert sorted(statuses) == ["created"] * 300 + ["insufficient"] * 50


class ClosesFirst:
    """A lock that closes the writer just before it is taken for the first time."""

    def __init__(self, writer: Writer) -> None:
        self._closing = threading.Thread(target=writer.close)
        self._lock = threading.Lock()
        self._is_first = True

    def __enter__(self) -> None:
        if self._is_first:
            self._is_first = False
            self._closing.start()
            self._closing.join(1)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@asynccontextmanager
async def queueing(writer: Writer, place: Place) -> AsyncGenerator[None]:
    """Commands that are submitted meanwhile wait for each other: the writer is busy with one that does nothing."""
    with place.locked():
        writer.submit(calls.release(calls.charge(10**9))).add_done_callback(lambda _: None)
        await until_taken(writer)
        yield


async def until_taken(writer: Writer) -> None:
    """The writer is in the middle of what was submitted so far."""
    await asyncio.sleep(0)  # it is woken at the end of the turn
    eventually(lambda: len(writer._queue), lambda queued: not queued)


def poison() -> Append:
    """`decide` takes it for a bug of its caller: quota moves only through commands of its own."""
    return Append(parts=(Part(setting("s"), None, (SettingChanged(key="s", postings=(("platform:promo", 1),)),)),))


async def submitted(writer: Writer, command: Command) -> None:
    """Queue a command and do not wait for the answer."""
    writer.submit(command).add_done_callback(lambda _: None)


async def answered(writer: Writer, command: Command) -> Result:
    return await asyncio.wait_for(writer.submit(command), 2)


def in_a_last_turn(writer: Writer, command: Command) -> None:
    """Queue a command in the turn that a loop stops in, and close it: what it put off to its next turn is never done."""
    eventually(lambda: writer._is_idle, bool)
    loop = asyncio.new_event_loop()

    def turn() -> None:
        writer.submit(command).add_done_callback(lambda _: None)
        loop.stop()

    loop.call_soon(turn)
    loop.run_forever()
    loop.close()
