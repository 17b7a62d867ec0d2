"""Asks about codes and payments: what brings a user quota from outside, and a share of it to whoever invited them."""

from __future__ import annotations

from collections.abc import Callable

from domain import commands, events, streams
from domain.commands import Append, Command
from domain.events import CodeTerms
from tests.laws.world import EXACTLY, MORE, NO_VERSION, STALE, WRONG_CAP, WRONG_COUNT, WRONG_PAYER, Ask, World

USES = (2, 3, None, 1, 0)
ODD_NAMES = {17: ("Pay!", "T"), 18: ("pay", ""), 19: ("pay", "T" * 129), 20: ("p" * 33, "T")}


def register_code(world: World, ask: Ask) -> Command:
    gift = ask.which % 2 == 0
    uses = USES[ask.who % 5] if gift else 1 + (ask.odd == WRONG_COUNT)
    made = events.CodeIssued(
        digest=f"text-{ask.which}",
        secret="vault-1",
        terms=_terms(world, ask),
        gift=gift,
        max_uses=uses,
        status=2 if ask.odd == NO_VERSION else 1,
        actor=8,
    )
    token = f"t{ask.which}" if ask.odd == STALE else ""
    grant, limit = (5 if ask.odd == 18 else 0), (5 if ask.odd == 19 else None)
    claim = streams.code_text(made.digest)
    return commands.Register(kind="code", created=made, claim=claim, token=token, grant=grant, limit=limit)


def redeem(world: World, ask: Ask) -> Command:
    if not world.oracle.codes:
        return register_code(world, ask)
    inviter, rebate = _invited(world, ask)
    return commands.RedeemCode(code=world.code(ask), user=world.user(ask), inviter=inviter, rebate=rebate)


def change_code(world: World, ask: Ask) -> Command:
    code = world.code(ask)
    there = world.oracle.codes.get(code)
    terms = there.terms if there is not None and ask.odd == EXACTLY else _terms(world, ask)
    version = world.oracle.versions[streams.code(code)] - (ask.odd == STALE)
    return commands.ChangeCode(code=code, terms=terms, expected=version if ask.odd % 2 else None, actor=8)


def delete_code(world: World, ask: Ask) -> Command:
    return commands.DeleteCode(code=world.code(ask), actor=8)


def code_status(world: World, ask: Ask) -> Command:
    code = world.code(ask)
    fact = events.CodeStatusChanged(id=code, status=1 + ask.odd % 2, actor=8)
    return Append(parts=(world.part(ask, streams.code(code), fact),))


def order(world: World, ask: Ask) -> Command:
    provider, trade = ODD_NAMES.get(ask.odd, ("pay", f"T{ask.which}"))
    currency = {WRONG_CAP: "eur", STALE: "EURO"}.get(ask.odd, "EUR")
    money = {WRONG_COUNT: 0, NO_VERSION: LARGEST + 1, MORE: LARGEST}.get(ask.odd, 100 + ask.which)
    return commands.InitiateTopUp(
        provider=provider,
        trade=trade,
        user=world.user(ask),
        amount=ask.amount,
        money_minor=money,
        currency=currency,
        method="card",
    )


def pay(world: World, ask: Ask) -> Command:
    """A notice about an order, or about nothing; on purpose sometimes about other money, or with another user."""
    provider, trade = ODD_NAMES.get(ask.odd, ("pay", f"T{ask.which}"))
    there = world.oracle.payments.get((provider, trade))
    if there is None and ask.odd % 3:
        return order(world, ask)
    made = there.order if there is not None else None
    user = made.user if made is not None else 0
    money = made.money_minor if made is not None else 55
    inviter, rebate = _invited(world, ask)
    return commands.SettleTopUp(
        provider=provider,
        trade=trade,
        user=user + (ask.odd == WRONG_PAYER),
        money_minor=-LARGEST - 1 if ask.odd == 16 else money + (ask.odd == WRONG_COUNT),
        currency="USD" if ask.odd == WRONG_CAP else "EUR",
        provider_event=f"event-{ask.who}",
        inviter=inviter,
        rebate=rebate,
    )


def resolve(world: World, ask: Ask) -> Command:
    there = world.oracle.payments.get(("pay", f"T{ask.which}"))
    if (there is None or not there.odd) and ask.odd % 4:
        return pay(world, ask._replace(odd=WRONG_COUNT))
    inviter, rebate = _invited(world, ask)
    return commands.ResolveTopUp(
        provider="pay",
        trade=f"T{ask.which}",
        user=world.user(ask),
        amount=ask.amount,
        reason="looked into",
        actor=8 + ask.odd % 2,
        inviter=inviter,
        rebate=rebate,
    )


def fail_payment(world: World, ask: Ask) -> Command:
    there = world.oracle.payments.get(("pay", f"T{ask.which}"))
    if there is None and ask.odd % 3:
        return order(world, ask)
    user = there.order.user if there is not None and there.order is not None else 0
    return commands.FailTopUp(provider="pay", trade=f"T{ask.which}", user=user, why="expired")


def reverse(world: World, ask: Ask) -> Command:
    there = world.oracle.payments.get(("pay", f"T{ask.which}"))
    is_credited = there is not None and there.credited is not None
    if not is_credited and ask.odd % 4:
        return pay(world, ask)
    user = there.credited[0] if there is not None and there.credited is not None else world.user(ask)
    left = there.left if there is not None and is_credited else 0
    amount = None if ask.odd % 3 == 0 else {EXACTLY: left, MORE: left + 1}.get(ask.odd, ask.amount)
    return commands.ReverseTopUp(
        provider="pay",
        trade=f"T{ask.which}",
        user=user + (ask.odd == WRONG_CAP),
        command_key=f"v{ask.who}",
        amount=amount,
        reason="chargeback",
        actor=8,
    )


MADE: dict[str, Callable[[World, Ask], Command]] = {
    "register_code": register_code,
    "redeem": redeem,
    "change_code": change_code,
    "delete_code": delete_code,
    "code_status": code_status,
    "order": order,
    "pay": pay,
    "resolve": resolve,
    "fail_payment": fail_payment,
    "reverse": reverse,
}
LARGEST = 9 * 10**18


def _terms(world: World, ask: Ask) -> CodeTerms:
    """Mostly always valid; else from, until or between moments around now."""
    now_s = world.now // 1_000
    starts, ends = {
        7: (now_s, 0), 8: (now_s + 1, 0), 9: (0, now_s), 10: (0, now_s - 1), 11: (now_s, now_s), 12: (now_s + 1, now_s),
        13: (-1, 0), 14: (0, 253_402_300_800), 15: (now_s - 1, 253_402_300_799), 16: (0, -1),
    }.get(ask.odd, (0, 0))  # fmt: skip
    return CodeTerms(name=f"code-{ask.who}", amount=ask.amount, valid_from=starts, valid_until=ends)


def _invited(world: World, ask: Ask) -> tuple[int, int]:
    """(inviter, rebate): nobody, oneself, another, or somebody who is not there; a little, or as much as was drawn."""
    if ask.odd % 4 == 0:
        return 0, 0
    rebate = {9: -5, 13: 0, 14: ask.amount}.get(ask.odd, 30)
    return world.another(ask), rebate
