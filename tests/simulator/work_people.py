"""Whoever registers, renames, limits, freezes and deletes: often two at once, on what some node believed a moment ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain import api_key, channel, gift_code, streams, user
from domain.commands import (
    Append,
    ChangeCode,
    DeleteCode,
    Freeze,
    LimitKey,
    Part,
    Register,
    SetCreditLimit,
    Unfreeze,
    VaultPut,
)
from domain.events import ChannelTerms, CodeTerms, KeyTerms, SettingChanged
from tests.simulator.loop import pause

if TYPE_CHECKING:
    from tests.simulator.directory import Directory
    from tests.simulator.world import World

NAMES = 12
"""So few that two people want one."""
NOBODY = 9_999


def sign_up_command(world: World, grant: int) -> Register:
    number = world.next_number()
    inviter = world.some_user() if world.chance.random() < 0.4 else 0
    return user.creation(
        claim=f"name-{world.chance.randint(1, NAMES)}" if world.chance.random() < 0.3 else f"own-{number}",
        profile=_secret("profile", number),
        password=_secret("password", number),
        grant_mills=grant,
        inviter=inviter,
        invited_bonus_mills=world.chance.choice((0, 500)),
        inviter_bonus_mills=world.chance.choice((0, 900)),
        token=f"sign-up-{number}",
    )


def key_command(world: World, owner: int) -> Register:
    number = world.next_number()
    limit = world.chance.choice((None, world.chance.randint(0, 30_000)))
    return api_key.creation(
        user=owner,
        digest=f"digest-{number}",
        secret=_secret("key", number),
        terms=KeyTerms(name="main"),
        limit_mills=limit,
        token=f"key-{number}",
    )


def code_command(world: World) -> Register:
    number = world.next_number()
    uses = world.chance.choice((1, 2, 5, 50, None, 0))
    return gift_code.issue(
        digest=f"text-{world.chance.randint(1, 40)}",
        secret=_secret("code", number),
        terms=_terms(world),
        gift=uses != 1,
        max_uses=uses,
        token=f"code-{number}",
    )


async def sign_up(world: World) -> None:
    made = await world.ask(sign_up_command(world, world.chance.choice((0, 5_000, 40_000))))
    if made is not None and made.ok:
        await world.ask(key_command(world, made.id))


async def make_key(world: World) -> None:
    await world.ask(key_command(world, world.some_user()))


async def make_channel(world: World) -> None:
    number = world.next_number()
    made = channel.creation(terms=ChannelTerms(name="up"), secret=_secret("channel", number), token=f"channel-{number}")
    await world.ask(made)


async def issue_code(world: World) -> None:
    await world.ask(code_command(world))


async def change_code(world: World) -> None:
    """New terms, another status, or the end of it."""
    view = _view(world)
    if view is None or not view.codes:
        return
    code = world.chance.choice(sorted(view.codes))
    version = view.versions[streams.code(code)]
    await pause(world.chance.uniform(0, 500))
    what = world.chance.random()
    if what < 0.5:
        await world.ask(ChangeCode(code=code, terms=_terms(world), expected=world.chance.choice((None, version))))
    elif what < 0.85:
        await world.ask(gift_code.status_change(code, version, world.chance.choice((1, 2))))
    else:
        await world.ask(DeleteCode(code=code, actor=1))


async def limit_key(world: World) -> None:
    guard = world.database.guards.get("seq:key")
    key = world.chance.randint(1, (guard.balance if guard else 0) + 1)
    name = world.chance.choice(("", f"limit-{world.chance.randint(1, 50)}"))
    command = world.chance.choice(
        (
            LimitKey(key=key, target=world.chance.randint(-10, 60_000), command_key=name),
            LimitKey(key=key, delta=world.chance.randint(-20_000, 30_000), command_key=name),
            LimitKey(key=key, unlimited=True, command_key=name),
        )
    )
    await world.ask(command)


async def stand(world: World) -> None:
    """A freeze in traffic, and its end; a credit limit."""
    person = world.some_user()
    what = world.chance.choice(("freeze", "freeze", "credit", "credit", "nobody"))
    if what == "credit":
        await world.ask(SetCreditLimit(user=person, limit=world.chance.choice((-1, 0, 0, 10_000))))
        return
    if what == "nobody":
        await world.ask(Unfreeze(user=NOBODY))
        return
    await world.ask(Freeze(user=person, reason="looks odd"))
    await pause(world.chance.uniform(100, 4_000))
    await world.ask(Unfreeze(user=person))


async def rename(world: World) -> None:
    """Two people want one name at one time, by what a node believes they are called."""
    view, claim = _view(world), f"name-{world.chance.randint(1, NAMES)}"
    for _ in range(2):
        person = view.users.get(world.some_user()) if view else None
        if person is not None and not person.deleted:
            number = world.next_number()
            world.begin(_told(world, user.profile_change(person, claim=claim, profile=_secret("profile", number))))


async def change_standing(world: World) -> None:
    """Switched off and on by version, from what may be old."""
    view = _view(world)
    person = view.users.get(world.some_user()) if view else None
    if view is None or person is None:
        return
    version = view.versions[streams.user(person.id)]
    await pause(world.chance.uniform(0, 300))
    await world.ask(user.standing_change(person, version, status=world.chance.choice((1, 1, 2))))


async def delete(world: World) -> None:
    """A user, with calls under way and credits on their way, or a key."""
    view = _view(world)
    if view is None:
        return
    if world.chance.random() < 0.4:
        person = view.users.get(world.some_user())
        if person is not None and person.id > 1:
            await world.ask(user.deletion(person))
    elif view.keys:
        await world.ask(api_key.deletion(view.keys[world.chance.choice(sorted(view.keys))]))


async def change_setting(world: World) -> None:
    key = f"setting-{world.chance.randint(1, 3)}"
    fact = SettingChanged(key=key, value=str(world.chance.randint(1, 9)))
    view = _view(world)
    known = view.versions.get(streams.setting(key), 0) if view else 0
    await world.ask(Append(parts=(Part(streams.setting(key), world.chance.choice((None, known)), (fact,)),)))


async def _told(world: World, command: Append) -> None:
    await world.ask(command)


def _terms(world: World) -> CodeTerms:
    now_s = world.clock.now_ms() // 1000
    begins, ends = world.chance.choice(((0, 0), (0, 0), (now_s + 3, 0), (0, now_s + 5), (now_s, now_s - 1)))
    return CodeTerms(name="gift", amount=world.chance.choice((100, 777, 5_000)), valid_from=begins, valid_until=ends)


def _view(world: World) -> Directory | None:
    process = world.any_process()
    return process.directory if process else None


def _secret(kind: str, number: int) -> VaultPut:
    return VaultPut(f"{kind}-{number}", b"sealed")
