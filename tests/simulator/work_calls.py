"""Clients of the relay: they call, several times at once and again when it fails; they wait, leave, and are cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.commands import Refund
from domain.events import ChargeSettled, ChargeSettledLate
from ledger.errors import LedgerClosed, LedgerUnavailable
from tests.simulator.loop import pause
from tests.simulator.node import Lost, in_time
from tests.simulator.relaying import PRICES, Request, relay

if TYPE_CHECKING:
    from tests.simulator.world import World

PATIENCE_MS = 30_000


async def call(world: World) -> None:
    """One to four calls at once on one key."""
    key = _some_key(world)
    for _ in range(world.chance.choice((1, 1, 2, 4))):
        world.begin(_until_answered(world, key))


async def task_call(world: World) -> None:
    """A call that begins a task upstream, which succeeds, fails, or is never heard of again."""
    request = _request(world, _some_key(world), 0)
    request.task, request.streams, request.chunks = world.new_id(), False, 1
    outcome = world.chance.choice(("succeeded", "failed", "failed", "never"))
    world.upstream_tasks[request.task] = (outcome, world.loop.elapsed_ms + world.chance.randint(100, 5_000))
    await _carried(world, request)


async def refund(world: World) -> None:
    """Part or all of a charge goes back, asked for by one or two people with one key or two."""
    charges = [
        number
        for number, fact in enumerate(world.database.facts)
        if isinstance(fact, ChargeSettled | ChargeSettledLate)
    ]
    if not charges:
        return
    number = world.chance.choice(charges)
    fact, charge = world.database.facts[number], world.database.rows[number].stream
    assert isinstance(fact, ChargeSettled | ChargeSettledLate), "only bills were chosen"
    amount = world.chance.choice((None, fact.paid, fact.paid // 2, fact.paid + 1, world.chance.randint(0, 500)))
    for _ in range(world.chance.choice((1, 2))):
        command = Refund(
            charge=charge,
            user=fact.user,
            key=fact.key,
            capped=fact.capped,
            command_key=f"refund-{world.chance.randint(1, 3)}",
            amount=amount,
        )
        await world.ask(command)


async def _until_answered(world: World, key: int) -> None:
    tries = world.chance.choice((1, 2, 3))
    for attempt in range(tries):
        if await _carried(world, _request(world, key, attempt)):
            return
        await pause(world.chance.uniform(20, 500))


async def _carried(world: World, request: Request) -> bool:
    """One attempt; False when it failed and may be tried again."""
    process = world.any_process()
    if process is None:
        return False
    reply, handler = process.serve(relay(process, request))
    length_ms = request.gap_ms * request.chunks
    if world.faults.strikes("client_gone"):
        world.loop.call_later(world.chance.uniform(0, length_ms) / 1000, setattr, request, "left", True)
    if world.faults.strikes("client_cancelled"):
        world.loop.call_later(world.chance.uniform(0, length_ms + 50) / 1000, handler.cancel)
        return True
    patience_ms = world.chance.randint(10, length_ms + 10) if world.faults.strikes("client_impatient") else PATIENCE_MS
    try:
        return await in_time(reply, patience_ms) != "unavailable"
    except (Lost, LedgerUnavailable, LedgerClosed):
        request.left = True
        return False


def _request(world: World, key: int, attempt: int) -> Request:
    chance, faults = world.chance, world.faults
    request = Request(
        attempt=f"{world.next_number()}.{attempt}",
        key=key,
        price=chance.choice(PRICES),
        input=chance.randint(0, 300),
        bound=chance.choice((10, 50, 200)),
        chunks=chance.randint(1, 6),
        chunk=chance.randint(1, 40),
        gap_ms=chance.choice((5, 50, 400)),
        streams=chance.random() < 0.6,
    )
    if faults.strikes("upstream_failed"):
        request.ends = "failed"
    elif faults.strikes("upstream_cut"):
        request.ends = "cut"
    elif chance.random() < 0.03:
        request.ends = "empty"
    if faults.strikes("upstream_ignores_bounds"):
        request.chunk *= 20
    return request


def _some_key(world: World) -> int:
    """A key that was registered, or the next one, which was not."""
    guard = world.database.guards.get("seq:key")
    return int(world.chance.randint(1, (guard.balance if guard else 0) + (world.chance.random() < 0.05) or 1))
