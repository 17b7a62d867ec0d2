"""How many commands a second one hot account takes: holds and settlements through the writer, no gateway in between."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from domain.commands import Hold, Register, Settle
from domain.events import UserCreated
from domain.pricing import Price
from domain.usage import Usage
from ledger.sqlite import SqliteStore
from ledger.writer import Writer

OPENING_MILLS = 10**14
HELD_MILLS = 5_000
PRICE = Price(model="bench", group="default", book=1, model_ratio="0.01")
USAGE = Usage(input=250, output=120)
COST_MILLS = PRICE.cost_mills(USAGE)


async def hold_and_settle(store_path: Path, batch_limit: int, seconds: float, clients: int) -> float:
    """Commands a second: `clients` tasks each hold and settle, one call after the other, on one user's account.

    The store is made in the folder `store_path`. Every command is durable before it counts.
    """
    with _writer(store_path, batch_limit) as writer:
        created = UserCreated(at=0, profile="", password="", claim="")
        user = (await writer.submit(Register(kind="user", created=created, grant=OPENING_MILLS))).id
        start = time.monotonic()
        counts = await asyncio.gather(*(_client(writer, user, start + seconds) for _ in range(clients)))
        return sum(counts) / (time.monotonic() - start)


async def _client(writer: Writer, user: int, until: float) -> int:
    """Calls of one client, as the relay makes them; answers how many commands were committed."""
    count = 0
    while time.monotonic() < until:
        charge = uuid.uuid4().hex
        for command in (_hold(charge, user), _settle(charge, user)):
            result = await writer.submit(command)
            assert result.status == "created", f"a new charge on a rich account was answered {result}"
            count += 1
    return count


@contextmanager
def _writer(folder: Path, batch_limit: int) -> Generator[Writer]:
    store = SqliteStore(folder)
    writer = Writer(store, batch_limit=batch_limit)
    try:
        yield writer
    finally:
        writer.close()
        store.close()


def _hold(charge: str, user: int) -> Hold:
    return Hold(
        charge=charge,
        user=user,
        key=1,
        model=PRICE.model,
        group=PRICE.group,
        prices=(PRICE,),
        amount=HELD_MILLS,
        node="bench",
        epoch="bench",
        ttl_ms=60_000,
    )


def _settle(charge: str, user: int) -> Settle:
    return Settle(
        charge=charge,
        user=user,
        key=1,
        model=PRICE.model,
        group=PRICE.group,
        price=PRICE,
        usage=USAGE,
        cost=COST_MILLS,
        ended_by="upstream",
    )
