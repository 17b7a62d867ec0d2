"""A process that carries calls over a database that comes and goes, until it is killed: `python -m tests.ledger_spool.dying FOLDER SEED`.

Every line it prints is an acknowledgement, written after the relay's own code said that the end of a call is durable:
`settled CHARGE COST` or `released CHARGE`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from pathlib import Path

from ledger.epochs import Epoch
from ledger.errors import LedgerError
from ledger.spool import SpooledLedger, open_spool
from ledger.writer import Writer
from relay.credit import Hold, open_hold
from relay.errors import RelayError
from tests.laws import calls
from tests.ledger_spool.faulty import FaultyStore

CLIENTS = 16
PAUSES_S = (0.001, 0.005, 0.02)


async def carry(folder: Path, draw: random.Random) -> None:
    store = FaultyStore(folder)
    writer, epoch = Writer(store), Epoch(folder, "dying")
    spool = open_spool(folder / "spool", writer, name=epoch.name)
    ledger = SpooledLedger(writer, spool, after_s=0.02, extend_within_s=0.02)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(weather(store, draw))
        for number in range(CLIENTS):
            tasks.create_task(calling(ledger, epoch.name, random.Random(f"{draw.random()}:{number}")))


async def weather(store: FaultyStore, draw: random.Random) -> None:
    """The database is there, away, loses its answers, or hangs."""
    while True:
        kind = draw.choice(["", "away", "lost", "hangs"])
        store.fault = "away" if kind == "away" else "lost" if kind == "lost" else ""
        if kind == "hangs":
            store.goes_on.clear()
        await asyncio.sleep(draw.uniform(0, 0.1))
        store.goes_on.set()
        store.fault = ""
        await asyncio.sleep(draw.uniform(0, 0.03))


async def calling(ledger: SpooledLedger, epoch: str, draw: random.Random) -> None:
    while True:
        charge, mills = f"{draw.getrandbits(128):032x}", draw.randrange(1, 5_000)
        try:
            hold = await open_hold(ledger, calls.hold(mills, charge, epoch=epoch))
        except RelayError:
            await asyncio.sleep(0.005)
            continue
        if draw.random() < 0.3:
            await grown(hold, draw)
        await asyncio.sleep(draw.choice(PAUSES_S))
        if draw.random() < 0.2:
            await hold.release("refused")
            say(f"released {charge}")
            continue
        cost = draw.choice([0, mills // 2, mills, 2 * mills])
        await settled(hold, cost)
        say(f"settled {charge} {cost}")


async def grown(hold: Hold, draw: random.Random) -> None:
    try:
        await hold.extend(draw.randrange(1, 2_000))
    except LedgerError:
        return  # its stream would be ended politely: it settles


async def settled(hold: Hold, cost: int) -> None:
    await hold.end(calls.settle(cost, hold.charge, extensions=hold.extensions))


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(carry(Path(sys.argv[1]), random.Random(sys.argv[2])))
