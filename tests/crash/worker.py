"""A process that carries calls until it is killed: `main(WHERE, SEED)`.

Every line it prints is an acknowledgement, written after the ledger answered and not before: the first is its epoch, then
`held CHARGE MILLS`, `extended CHARGE N MILLS`, `settled CHARGE COST PAID`, `late CHARGE COST PAID` and `released CHARGE`.
A ledger that is unavailable is asked again, with the same names, until it answers.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TypedDict

from domain.books import Result
from domain.commands import Command
from domain.events import ChargeSettled, ChargeSettledLate
from ledger.epochs import Epoch
from ledger.errors import LedgerUnavailable
from ledger.writer import Writer
from tests.crash.where import Where, where
from tests.laws import calls

RICH_MILLS = 10**9
POOR_MILLS = 20_000
LIMIT_MILLS = 10**7
CLIENTS = 16
TTL_MS = 1_000
PAUSES_S = (0.005, 0.02, 0.1, 0.2)
ASK_AGAIN_S = 0.05
SLOW_S = 1.3
"""A slow call outlives its hold, and settles late if somebody has ended it by then."""


class Payer(TypedDict):
    user: int
    key: int
    capped: bool


PAYERS: tuple[Payer, ...] = (
    {"user": 1, "key": 1, "capped": False},
    {"user": 1, "key": 2, "capped": True},
    {"user": 2, "key": 3, "capped": False},
    {"user": 3, "key": 4, "capped": False},
)


def prepare(place: Where) -> None:
    """A ledger with the customers of these tests: two rich ones, one who is soon out of quota, and a key with a limit."""
    store = place.open()
    names = {"ada": RICH_MILLS, "bob": RICH_MILLS, "eve": POOR_MILLS}
    store.commit([calls.customer(name, grant=mills) for name, mills in names.items()])
    store.commit([calls.key_of(1), calls.key_of(1, limit=LIMIT_MILLS), calls.key_of(2), calls.key_of(3)])
    store.close()


async def carry(place: Where, seed: str) -> None:
    writer, epoch = Writer(place.open()), Epoch(place.folder, "worker")
    say(f"epoch {epoch.name}")
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            draw = random.Random(f"{seed}:{number}")
            clients.create_task(calling(writer, epoch.name, draw, slow=number == 0))


async def calling(writer: Writer, epoch: str, draw: random.Random, *, slow: bool) -> None:
    while True:
        own, charge, mills = draw.choice(PAYERS), f"{draw.getrandbits(128):032x}", draw.randrange(1, 5_000)
        held = await answer(writer, calls.hold(mills, charge, **own, epoch=epoch, ttl_ms=TTL_MS))
        if held.status == "insufficient":
            continue
        say(f"held {charge} {mills}")
        extensions = await extended(writer, charge, draw, own)
        await asyncio.sleep(SLOW_S if slow else draw.choice(PAUSES_S))
        await ended(writer, charge, mills, extensions, draw, own)


async def extended(writer: Writer, charge: str, draw: random.Random, own: Payer) -> int:
    count = draw.choice([0, 0, 0, 1, 2])
    for n in range(1, count + 1):
        mills = draw.randrange(1, 2_000)
        result = await answer(writer, calls.extend(n, mills, charge, **own))
        if not result.ok:
            return n - 1
        say(f"extended {charge} {n} {mills}")
    return count


async def ended(writer: Writer, charge: str, mills: int, extensions: int, draw: random.Random, own: Payer) -> None:
    if draw.random() < 0.2:
        result = await answer(writer, calls.release(charge, **own, extensions=extensions))
        if result.ok:
            say(f"released {charge}")
        return
    settle = calls.settle(draw.choice([0, mills // 2, mills, 3 * mills]), charge, **own, extensions=extensions)
    for _ in range(draw.choice([1, 1, 2])):  # a client that is not sure asks again
        tell_settled(charge, await answer(writer, settle))


async def answer(writer: Writer, command: Command) -> Result:
    while True:
        try:
            return await writer.submit(command)
        except LedgerUnavailable:
            await asyncio.sleep(ASK_AGAIN_S)


def tell_settled(charge: str, result: Result) -> None:
    assert result.ok, f"a settlement was answered {result}"
    match result.fact:
        case ChargeSettled(cost=cost, paid=paid):
            say(f"settled {charge} {cost} {paid}")
        case ChargeSettledLate(cost=cost, paid=paid):
            say(f"late {charge} {cost} {paid}")
        case other:
            raise AssertionError(f"a settlement left {other}")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main(told: str, seed: str) -> None:
    asyncio.run(carry(where(told), seed))
