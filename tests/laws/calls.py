"""The commands of ordinary customers and calls, for tests that are about something else.

At `PRICE` one token of input costs one mill, so a settlement's cost, usage and price always agree.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from domain import commands, events, gift_code
from domain.commands import VaultPut
from domain.events import CodeTerms, KeyTerms
from domain.pricing import Price
from domain.usage import Usage

PRICE = Price(model="m", group="default", book=1, model_ratio="0.001")
TTL_MS = 60_000


def charge(number: int) -> str:
    """The stream of one call of a test."""
    return UUID(int=number).hex


def task(number: int) -> str:
    """The stream of one task of a test."""
    return charge(1_000 + number)


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


def refund(
    mills: int | None = None,
    call: str = FIRST,
    *,
    name: str = "r",
    user: int = 1,
    key: int = 1,
    capped: bool = False,
) -> commands.Refund:
    return commands.Refund(charge=call, user=user, key=key, capped=capped, command_key=name, amount=mills)


def accept(
    cost: int, call: str = FIRST, *, number: int = 1, capped: bool = False, ttl_ms: int = TTL_MS
) -> commands.Accept:
    """Task `number` is taken on, and `call` pays for it."""
    bill = settle(cost, call, capped=capped)
    return commands.Accept(
        **msgspec.structs.asdict(bill),
        task=task(number),
        kind="video",
        upstream_task_id=f"up-{number}",
        task_ttl_ms=ttl_ms,
    )


def end_task(
    outcome: Literal["succeeded", "failed", "given_up"],
    call: str = FIRST,
    *,
    number: int = 1,
    capped: bool = False,
    why: str = "",
) -> commands.EndTask:
    return commands.EndTask(task=task(number), charge=call, user=1, key=1, capped=capped, outcome=outcome, why=why)


def code(
    mills: int,
    *,
    text: str = "text",
    uses: int | None = 1,
    gift: bool = False,
    status: int = 1,
    valid_from: int = 0,
    valid_until: int = 0,
) -> commands.Register:
    terms = CodeTerms(name="code", amount=mills, valid_from=valid_from, valid_until=valid_until)
    put = VaultPut(f"code-{text}", b"sealed")
    made = gift_code.issue(digest=text, secret=put, terms=terms, gift=gift, max_uses=uses)
    issued = made.created
    assert isinstance(issued, events.CodeIssued)
    return msgspec.structs.replace(made, created=msgspec.structs.replace(issued, status=status))


def redeem(code: int = 1, *, user: int = 1, inviter: int = 0, rebate: int = 0) -> commands.RedeemCode:
    return commands.RedeemCode(code=code, user=user, inviter=inviter, rebate=rebate)


def order(mills: int, trade: str = "T1", *, user: int = 1, money: int = 500) -> commands.InitiateTopUp:
    return commands.InitiateTopUp(
        provider="pay", trade=trade, user=user, amount=mills, money_minor=money, currency="EUR"
    )


def paid(
    trade: str = "T1", *, user: int = 1, money: int = 500, currency: str = "EUR", inviter: int = 0, rebate: int = 0
) -> commands.SettleTopUp:
    """The provider's notice that an order was paid."""
    return commands.SettleTopUp(
        provider="pay",
        trade=trade,
        user=user,
        money_minor=money,
        currency=currency,
        inviter=inviter,
        rebate=rebate,
    )


def resolve(mills: int, trade: str = "T1", *, user: int = 1, actor: int = 8) -> commands.ResolveTopUp:
    return commands.ResolveTopUp(
        provider="pay", trade=trade, user=user, amount=mills, reason="looked into", actor=actor
    )


def reverse(mills: int | None = None, trade: str = "T1", *, name: str = "v", user: int = 1) -> commands.ReverseTopUp:
    return commands.ReverseTopUp(provider="pay", trade=trade, user=user, command_key=name, amount=mills)
