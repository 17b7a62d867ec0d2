"""Asks about one charge and its task. Every field of their commands has a value of its own, so that a fact can be held to it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from domain import commands
from domain.commands import Command
from tests.laws import calls
from tests.laws.oracle import LIMIT, Charge
from tests.laws.world import EXACTLY, MORE, STALE, WRONG_CAP, WRONG_COUNT, WRONG_PAYER, Ask, World

PRICES = tuple(msgspec.structs.replace(calls.PRICE, book=book) for book in range(3))
TASK_TTLS_MS = (60_000, 1, 600_000, 0)
OUTCOMES = ("succeeded", "failed", "given_up")


def hold(world: World, ask: Ask) -> commands.Hold:
    return _hold(world, ask, calls.charge(ask.which))


def extend(world: World, ask: Ask) -> Command:
    there = _charge(world, ask)
    if there is None:
        return hold(world, ask)
    user, key, capped = _payer(there, ask)
    return calls.extend(_count(there, ask) + 1, ask.amount, there.hold.charge, user=user, key=key, capped=capped)


def settle(world: World, ask: Ask) -> Command:
    there = _charge(world, ask)
    return hold(world, ask) if there is None else _settle(ask, there)


def release(world: World, ask: Ask) -> Command:
    there = _charge(world, ask)
    if there is None:
        return hold(world, ask)
    user, key, capped = _payer(there, ask)
    free = calls.release(there.hold.charge, user=user, key=key, capped=capped, extensions=_count(there, ask))
    return msgspec.structs.replace(
        free, model="m-released", endpoint="/v1/released", status=502, attempts=(3, 4), duration_ms=71
    )


def expire(world: World, ask: Ask) -> Command:
    there = _charge(world, ask)
    if there is None:
        return hold(world, ask)
    user, key, capped = _payer(there, ask)
    lost = calls.expire(there.hold.charge, user=user, key=key, capped=capped, extensions=_count(there, ask))
    return msgspec.structs.replace(lost, dead_epoch=ask.odd % 2 == 0)


def refund(world: World, ask: Ask) -> Command:
    there = _charge(world, ask)
    if there is None:
        return hold(world, ask)
    user, key, capped = _payer(there, ask)
    amount = _part_of(there.refundable, ask)
    name = "task:mine" if ask.odd == 20 else f"r{ask.who}"
    return commands.Refund(
        charge=there.hold.charge,
        user=user,
        key=key,
        capped=capped,
        command_key=name,
        amount=amount,
        reason="it was slow",
        actor=7,
    )


def accept(world: World, ask: Ask) -> Command:
    there = _charge(world, ask)
    if there is None:
        return hold(world, ask)
    task = calls.task(ask.which + (ask.who == 4))
    return commands.Accept(
        **msgspec.structs.asdict(_settle(ask, there)),
        task=task if ask.odd != 20 else there.hold.charge,
        kind="video",
        upstream_task_id=f"up-{ask.odd % 2}",
        task_ttl_ms=TASK_TTLS_MS[ask.who % 4],
    )


def end_task(world: World, ask: Ask) -> Command:
    there = world.oracle.tasks.get(calls.task(ask.which))
    if there is None:
        return accept(world, ask)
    begun = there.accepted
    return commands.EndTask(
        task=begun.task,
        charge=calls.charge(ask.which + (ask.odd == WRONG_COUNT)),
        user=begun.user + (ask.odd == WRONG_PAYER),
        key=begun.key,
        capped=begun.capped ^ (ask.odd == WRONG_CAP),
        outcome=OUTCOMES[ask.who % 3],  # type: ignore[arg-type]
        why="it broke" if ask.odd % 2 else "",
    )


MADE: dict[str, Callable[[World, Ask], Command]] = {
    "hold": hold,
    "extend": extend,
    "settle": settle,
    "release": release,
    "expire": expire,
    "refund": refund,
    "accept": accept,
    "end_task": end_task,
}


def _charge(world: World, ask: Ask) -> Charge | None:
    """The charge that is there; on purpose sometimes one that is not."""
    there = world.oracle.charges.get(calls.charge(ask.which))
    if there is None and ask.odd == WRONG_PAYER:
        return Charge(hold(world, ask), 0)
    return there


def _payer(there: Charge, ask: Ask) -> tuple[int, int, bool]:
    user, key, capped = there.payer
    return user + (ask.odd == WRONG_PAYER), key, capped ^ (ask.odd == WRONG_CAP)


def _count(there: Charge, ask: Ask) -> int:
    known = len(there.extensions)
    return known + (ask.odd == WRONG_COUNT) - (ask.odd == STALE)


def _hold(world: World, ask: Ask, charge: str) -> commands.Hold:
    key = world.key(ask)
    capped = world.oracle.limited.get(key, False) ^ (ask.odd == WRONG_CAP)
    made = calls.hold(ask.amount, charge, user=world.user(ask), key=key, capped=capped)
    return msgspec.structs.replace(
        made,
        prices=(PRICES[ask.which % 3],),
        output_bound=17,
        endpoint="/v1/held",
        stream=True,
        client_request_id="client-1",
    )


def _settle(ask: Ask, there: Charge) -> commands.Settle:
    cost = ask.amount
    if ask.odd in {EXACTLY, MORE}:
        cost = there.held + (ask.amount if ask.odd == MORE else 0)
    if LIMIT < cost < 2**63:
        cost = LIMIT  # where between the two a cost becomes absurd is for the ledger to say
    user, key, capped = _payer(there, ask)
    made = calls.settle(cost, there.hold.charge, user=user, key=key, capped=capped, extensions=_count(there, ask))
    return msgspec.structs.replace(
        made,
        price=PRICES[ask.which % 3],
        ended_by="client_left",
        basis="counted",
        endpoint="/v1/settled",
        stream=True,
        channel=5,
        upstream_model="um",
        upstream_request_id="up-1",
        client_request_id="client-2",
        first_byte_ms=11,
        duration_ms=22,
        attempts=(4, 5),
    )


def _part_of(left: int, ask: Ask) -> int | None:
    """Mills of what is left: all of it by name or by number, a mill more, or what was drawn."""
    if ask.odd % 3 == 0:
        return None
    return {EXACTLY: left, MORE: left + 1}.get(ask.odd, ask.amount)
