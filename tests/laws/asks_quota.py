"""Asks about one user's quota: given, corrected, moved, and how low it may go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from domain import commands
from domain.commands import Command
from tests.laws.world import EXACTLY, NO_VERSION, STALE, WRONG_COUNT, Ask, World

REASONS = ("signup", "opening", "gift")


def adjust_by(world: World, ask: Ask) -> Command:
    sign = -1 if ask.odd % 2 else 1
    return commands.Adjust(
        command_key=f"a{ask.which}", user=world.user(ask), delta=sign * ask.amount, reason="by", actor=8
    )


def adjust_to(world: World, ask: Ask) -> Command:
    return commands.Adjust(command_key=f"a{ask.which}", user=world.user(ask), target=ask.amount, reason="to", actor=8)


def adjust_seen(world: World, ask: Ask) -> Command:
    """As an admin does who saw a balance, and perhaps looked a while ago."""
    user = world.user(ask)
    seen = world.oracle.balances[f"user:{user}:available"] // 1_000 + ask.odd % 3 - 1
    target = seen if ask.odd == EXACTLY else ask.amount
    return commands.Adjust(command_key=f"a{ask.which}", user=user, target=target, seen=seen, reason="seen", actor=8)


def grant(world: World, ask: Ask) -> Command:
    return commands.Grant(user=world.user(ask), amount=ask.amount, why=REASONS[ask.which % 3], actor=9 * (ask.odd % 2))


def opening(world: World, ask: Ask) -> Command:
    invite = {STALE: -1, EXACTLY: 0, NO_VERSION: ask.amount}.get(ask.odd, 300)
    return commands.Open(
        user=world.user(ask),
        amount=-ask.amount if ask.odd % 2 else ask.amount,
        invite=invite,
        used=-(2**63) if ask.odd == 20 else 1_000_000,
        calls=2**63 if ask.odd == 19 else 12,
        source="old-gateway",
        row=f"users:{ask.which % 5}",
        digest=f"digest-{ask.odd % 2}",
        actor=8,
    )


def check_in(world: World, ask: Ask) -> Command:
    days = {STALE: -1, NO_VERSION: 1}.get(ask.odd, 0)
    day = datetime.fromtimestamp(world.now // 1_000, UTC).date() + timedelta(days=days)
    return commands.CheckIn(user=world.user(ask), day=day.isoformat(), amount=ask.amount)


def transfer(world: World, ask: Ask) -> Command:
    user = world.user(ask)
    there = world.oracle.balances[f"user:{user}:invite"]
    amount = {EXACTLY: there, WRONG_COUNT: there + 1}.get(ask.odd, ask.amount)
    return commands.TransferInvite(command_key=f"x{ask.which}", user=user, amount=amount)


def credit_limit(world: World, ask: Ask) -> Command:
    return commands.SetCreditLimit(user=world.user(ask), limit=ask.amount, reason="postpaid", actor=8)


def freeze(world: World, ask: Ask) -> Command:
    return commands.Freeze(user=world.user(ask), reason="under review", actor=8)


def unfreeze(world: World, ask: Ask) -> Command:
    return commands.Unfreeze(user=world.user(ask), reason="reviewed", actor=8)


MADE: dict[str, Callable[[World, Ask], Command]] = {
    "adjust_by": adjust_by,
    "adjust_to": adjust_to,
    "adjust_seen": adjust_seen,
    "grant": grant,
    "open": opening,
    "check_in": check_in,
    "transfer": transfer,
    "credit_limit": credit_limit,
    "freeze": freeze,
    "unfreeze": unfreeze,
}
