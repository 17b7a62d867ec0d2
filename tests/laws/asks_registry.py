"""Asks about users, keys, channels and settings: registered, limited, renamed, changed and deleted."""

from __future__ import annotations

from collections.abc import Callable

from domain import commands, events, streams
from domain.commands import Append, Command, Part
from domain.events import ChannelTerms, Fact, KeyTerms
from tests.laws.world import NO_VERSION, STALE, WRONG_CAP, WRONG_COUNT, Ask, World


def register_user(world: World, ask: Ask) -> Command:
    name = world.name(ask)
    is_invited = ask.odd % 3 == 1
    made = events.UserCreated(
        profile="p", password="h", claim=name, inviter=world.another(ask) if is_invited else 0, actor=8
    )
    return commands.Register(
        kind="user",
        created=made,
        claim=name,
        grant=ask.amount,
        grant_why="opening" if ask.odd == STALE else "signup",
        invited_bonus={7: -1, 10: ask.amount, 13: 0}.get(ask.odd, 40),
        inviter_bonus={4: -1, 16: ask.amount, 19: 0}.get(ask.odd, 60),
        token=_token(ask),
    )


def register_channel(world: World, ask: Ask) -> Command:
    made = events.ChannelCreated(terms=ChannelTerms(), secret="s", actor=8)
    grant, limit = (5 if ask.odd == 18 else 0), (5 if ask.odd == 19 else None)
    return commands.Register(kind="channel", created=made, token=_token(ask), grant=grant, limit=limit)


def register_key(world: World, ask: Ask) -> Command:
    limit = ask.amount if ask.which % 2 else None
    unlimited = (limit is None) ^ (ask.odd == WRONG_CAP)
    made = events.KeyCreated(
        user=world.user(ask), digest="d", secret="s", terms=KeyTerms(), unlimited=unlimited, actor=8
    )
    return commands.Register(kind="key", created=made, limit=limit, token=_token(ask), grant=5 if ask.odd == 18 else 0)


def register_oddly(world: World, ask: Ask) -> Command:
    """What is no beginning of anything, or of something else."""
    user = events.UserCreated(profile="p", password="h", claim="")
    facts: list[tuple[str, Fact]] = [
        ("key", user),
        ("setting", events.SettingChanged(key="s0", value="1")),
        ("username", events.UsernameClaimed(user=1)),
        ("user", events.UserDeleted(id=1)),
        ("code", events.CodeRedeemed(code=1, user=1, amount=5)),
    ]
    kind, made = facts[ask.who % 5]
    return commands.Register(kind=kind, created=made)


def limit_key(world: World, ask: Ask) -> Command:
    key, name = world.key(ask), f"l{ask.odd}" if ask.which % 3 == 0 else ""
    if ask.odd % 4 == 0:
        return commands.LimitKey(key=key, unlimited=True, command_key=name, actor=8)
    if ask.which % 2:
        return commands.LimitKey(key=key, target=ask.amount, command_key=name, actor=8)
    return commands.LimitKey(key=key, delta=ask.amount, command_key=name, actor=8)


def change(world: World, ask: Ask) -> Command:
    user = world.user(ask)
    fact = events.UserStandingChanged(id=user, role=1, status=1 + ask.which % 2, group="default", actor=8)
    return Append(parts=(world.part(ask, streams.user(user), fact),))


def delete_user(world: World, ask: Ask) -> Command:
    user = world.user(ask)
    part = Part(streams.user(user), None, (events.UserDeleted(id=user, actor=8),))
    return Append(parts=(part, *_released(world, user)))


def delete_key(world: World, ask: Ask) -> Command:
    key = world.key(ask)
    return Append(parts=(Part(streams.key(key), None, (events.KeyDeleted(id=key, actor=8),)),))


def rename(world: World, ask: Ask) -> Command:
    user, name = world.user(ask), world.name(ask)
    changed = Part(streams.user(user), None, (events.UserProfileChanged(id=user, profile="p2", claim=name, actor=8),))
    if world.oracle.names.get(name) == user:
        return Append(parts=(changed,), claim=name, user=user)
    claimed = Part(name, None, (events.UsernameClaimed(user=user),))
    return Append(parts=(changed, claimed, *_released(world, user)), claim=name, user=user)


def set_option(world: World, ask: Ask) -> Command:
    fact = events.SettingChanged(key=f"s{ask.which % 2}", value=str(ask.amount), actor=8)
    return Append(parts=(world.part(ask, streams.setting(fact.key), fact),))


MADE: dict[str, Callable[[World, Ask], Command]] = {
    "register_user": register_user,
    "register_key": register_key,
    "register_channel": register_channel,
    "register_oddly": register_oddly,
    "limit_key": limit_key,
    "change": change,
    "delete_user": delete_user,
    "delete_key": delete_key,
    "rename": rename,
    "set": set_option,
}


def _token(ask: Ask) -> str:
    return f"t{ask.which}" if ask.odd in {WRONG_CAP, WRONG_COUNT, STALE, NO_VERSION} else ""


def _released(world: World, user: int) -> tuple[Part, ...]:
    own = [name for name, owner in world.oracle.names.items() if owner == user]
    return tuple(Part(name, None, (events.UsernameReleased(user=user),)) for name in own)
