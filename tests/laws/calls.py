"""The commands of ordinary customers and calls, for tests that are about something else.

At `PRICE` one token of input costs one mill, so a settlement's cost, usage and price always agree.
"""

from __future__ import annotations

from uuid import UUID

from domain import commands, events
from domain.events import KeyTerms
from domain.pricing import Price
from domain.usage import Usage

PRICE = Price(model="m", group="default", book=1, model_ratio="0.001")
TTL_MS = 60_000


def charge(number: int) -> str:
    """The stream of one call of a test."""
    return UUID(int=number).hex


FIRST = charge(1)


def customer(name: str = "ada", *, grant: int = 0, token: str = "") -> commands.Register:
    created = events.UserCreated(profile=f"profile-{name}", password=f"password-{name}", claim=name)
    return commands.Register(kind="user", created=created, grant=grant, token=token)


def key_of(user: int, *, limit: int | None = None) -> commands.Register:
    terms, unlimited = KeyTerms(name="main"), limit is None
    created = events.KeyCreated(user=user, digest=f"digest-{user}", secret="", terms=terms, unlimited=unlimited)
    return commands.Register(kind="key", created=created, limit=limit)


def hold(
    mills: int,
    call: str = FIRST,
    *,
    user: int = 1,
    key: int = 1,
    capped: bool = False,
    epoch: str = "e",
    ttl_ms: int = TTL_MS,
) -> commands.Hold:
    return commands.Hold(
        charge=call,
        user=user,
        key=key,
        capped=capped,
        model=PRICE.model,
        group=PRICE.group,
        prices=(PRICE,),
        amount=mills,
        input_bound=max(0, mills),
        node="test",
        epoch=epoch,
        ttl_ms=ttl_ms,
    )


def extend(
    n: int, mills: int, call: str = FIRST, *, user: int = 1, key: int = 1, capped: bool = False
) -> commands.Extend:
    return commands.Extend(charge=call, user=user, key=key, capped=capped, n=n, amount=mills)


def settle(
    cost: int, call: str = FIRST, *, user: int = 1, key: int = 1, capped: bool = False, extensions: int = 0
) -> commands.Settle:
    return commands.Settle(
        charge=call,
        user=user,
        key=key,
        capped=capped,
        extensions=extensions,
        model=PRICE.model,
        group=PRICE.group,
        price=PRICE,
        usage=Usage(input=max(0, cost)),
        cost=cost,
        ended_by="complete",
    )


def release(
    call: str = FIRST, *, user: int = 1, key: int = 1, capped: bool = False, extensions: int = 0
) -> commands.Release:
    return commands.Release(charge=call, user=user, key=key, capped=capped, extensions=extensions, why="refused")


def expire(
    call: str = FIRST, *, user: int = 1, key: int = 1, capped: bool = False, extensions: int = 0
) -> commands.Expire:
    """As a process does that found the holder dead."""
    return commands.Expire(
        charge=call, user=user, key=key, capped=capped, extensions=extensions, node="other", dead_epoch=True
    )
