"""Everybody through whom quota comes in or is put right: payment providers, code holders, inviters, admins, importers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from domain import streams
from domain.commands import (
    Adjust,
    CheckIn,
    FailTopUp,
    Grant,
    InitiateTopUp,
    Open,
    RedeemCode,
    ResolveTopUp,
    ReverseTopUp,
    SettleTopUp,
    TransferInvite,
)
from domain.events import TopUpInitiated
from domain.gifts import day_of
from ledger.errors import LedgerClosed, LedgerUnavailable
from tests.simulator.loop import pause
from tests.simulator.node import Lost, Process, in_time

if TYPE_CHECKING:
    from tests.simulator.world import World

PROVIDER = "stripe"
COPIES = (1, 1, 2, 5, 10)
DONE = frozenset({"created", "exists", "exists_with_different", "flagged"})


async def pay(world: World) -> None:
    """An order, perhaps; the money; and notices of it, until one of them is answered with success."""
    user, trade = world.some_user(), f"trade-{world.next_number()}"
    amount, money = world.chance.randint(1, 50_000), world.chance.randint(1, 900)
    if world.chance.random() < 0.9:
        order = InitiateTopUp(
            provider=PROVIDER, trade=trade, user=user, amount=amount, money_minor=money, currency="EUR", method="card"
        )
        await world.ask(order)
    await pause(world.chance.uniform(0, 1_000))
    what = world.chance.random()
    if what < 0.15:
        world.begin(_not_paid(world, user, trade))
    if what < 0.1:
        return
    if what > 0.92:
        money += 1
    currency = "USD" if 0.88 < what <= 0.92 else "EUR"
    await _notified(world, trade, money, currency)
    if world.chance.random() < 0.5:
        world.begin(_looked_at(world, user, trade, amount))


async def _not_paid(world: World, user: int, trade: str) -> None:
    await world.ask(FailTopUp(provider=PROVIDER, trade=trade, user=user, why="abandoned"))


async def _notified(world: World, trade: str, money: int, currency: str) -> None:
    """The provider: it sends copies to whichever node there is, and does not rest until it hears of success."""
    while True:
        replies: list[asyncio.Future[str]] = []
        for _ in range(world.chance.choice(COPIES)):
            process = world.any_process()
            if process is not None:
                reply, _ = process.serve(_notice_taken(process, trade, money, currency))
                replies.append(reply)
        said = [await _heard(reply) for reply in replies]
        if "success" in said or "full" in said:
            return
        await pause(world.chance.uniform(200, 1_500))


async def _heard(reply: asyncio.Future[str]) -> str:
    try:
        return await in_time(reply)
    except (Lost, LedgerUnavailable, LedgerClosed):
        return "nothing"


async def _notice_taken(process: Process, trade: str, money: int, currency: str) -> str:
    """What a node does with a notice whose signature is right."""
    world, stream = process.world, streams.payment(PROVIDER, trade)
    past = world.database.read_stream(stream)
    order = past[0].fact if past else None
    user = order.user if isinstance(order, TopUpInitiated) else 0
    person = process.directory.users.get(user)
    inviter = person.inviter if person else 0
    command = SettleTopUp(
        provider=PROVIDER,
        trade=trade,
        user=user,
        money_minor=money,
        currency=currency,
        inviter=inviter,
        rebate=37 if inviter else 0,
    )
    if world.faults.strikes("crash_before_answer"):
        process.node.crash()
    result = await process.writer.submit(command)
    if world.faults.strikes("crash_before_answer"):
        process.node.crash()
    if not process.alive or result.status not in DONE:
        return "full" if result.status == "too_large" else "fail"
    world.promises.success_is_told(PROVIDER, trade, stream)
    return "success"


async def _looked_at(world: World, user: int, trade: str, amount: int) -> None:
    """An admin resolves what was flagged; the provider takes some or all of it back."""
    if world.chance.random() < 0.5:
        await world.ask(
            ResolveTopUp(provider=PROVIDER, trade=trade, user=user, amount=amount, reason="by hand", actor=1)
        )
    for _ in range(world.chance.choice((0, 1, 2))):
        back = world.chance.choice((None, amount, 1 + amount // 2, amount + 1))
        key = f"back-{world.chance.randint(1, 2)}"
        await world.ask(ReverseTopUp(provider=PROVIDER, trade=trade, user=user, command_key=key, amount=back))


async def redeem(world: World) -> None:
    """Some users try one code, several times, at several nodes at once."""
    guard = world.database.guards.get("seq:code")
    code = world.chance.randint(1, (guard.balance if guard else 0) + 1)
    for _ in range(world.chance.choice((1, 3, 6))):
        user = world.some_user()
        inviter = world.inviter_of(user)
        command = RedeemCode(user=user, code=code, inviter=inviter, rebate=11 if inviter else 0)
        for _ in range(world.chance.choice((1, 1, 3))):
            world.begin(_asked(world, command))


async def check_in(world: World) -> None:
    """The day is whatever the clock of some machine says."""
    process = world.any_process()
    if process is None:
        return
    day = day_of(process.node.clock.now_ms())
    command = CheckIn(user=world.some_user(), day=day, amount=world.chance.randint(1, 3_000))
    for _ in range(world.chance.choice((1, 2))):
        world.begin(_asked(world, command))


async def adjust(world: World) -> None:
    """An admin reads a balance, thinks about it, and sets it; or adds and takes away."""
    user, key = world.some_user(), f"adjust-{world.chance.randint(1, 200)}"
    guard = world.database.guards.get(f"user:{user}:available")
    shown = (guard.balance if guard else 0) // 1000
    await pause(world.chance.uniform(0, 2_000))
    wanted = shown + world.chance.randint(-20, 40)
    command = world.chance.choice(
        (
            Adjust(command_key=key, user=user, target=wanted, seen=shown, reason="asked for", actor=1),
            Adjust(command_key=key, user=user, target=wanted, reason="asked for", actor=1),
            Adjust(command_key=key, user=user, delta=world.chance.randint(-9_000, 30_000), reason="a gift", actor=1),
        )
    )
    await world.ask(command)


async def grant(world: World) -> None:
    amount = world.chance.choice((world.chance.randint(0, 20_000), 9 * 10**18))
    await world.ask(Grant(user=world.some_user(), amount=amount, why=f"gift-{world.chance.randint(1, 5)}", actor=1))


async def import_row(world: World) -> None:
    """An opening balance is imported; then again, and perhaps its row has changed meanwhile."""
    row, amount = f"row-{world.next_number()}", world.chance.randint(-5_000, 20_000)
    first = Open(
        user=world.some_user(), amount=amount, invite=world.chance.randint(0, 900), source="old", row=row, digest="a"
    )
    again = Open(user=first.user, amount=amount + 1, invite=first.invite, source="old", row=row, digest="b")
    for command in world.chance.choice(((first, first), (first, again), (first, again, first))):
        await world.ask(command)


async def transfer_invite(world: World) -> None:
    user = world.some_user()
    guard = world.database.guards.get(f"user:{user}:invite")
    there = guard.balance if guard else 0
    amount = world.chance.choice((there, there + 1, there // 2))
    key = f"transfer-{world.chance.randint(1, 100)}"
    await world.ask(TransferInvite(command_key=key, user=user, amount=amount))


async def _asked(world: World, command: RedeemCode | CheckIn) -> None:
    await world.ask(command)
