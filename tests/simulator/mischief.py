"""Commands that come again, unchanged or bent: what was answered before has to be found, and what is bent has to be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from domain.commands import Command, EndTask, Hold, OnCharge

if TYPE_CHECKING:
    from tests.simulator.world import World

BENT = ("amount", "cost", "user", "key", "money_minor", "limit", "target", "delta", "code", "seen", "task_ttl_ms")
BY = (1, -1, 7, 10**6, 9 * 10**18, -(9 * 10**18))
NOBODY = 9_999


async def again(world: World) -> None:
    """Send one of the last commands again."""
    if not world.known:
        return
    command = world.chance.choice(world.known)
    what = world.chance.random()
    if what < 0.4:
        await world.ask(command)
    elif what < 0.7:
        await world.ask(_bent(world, command))
    elif isinstance(command, OnCharge):
        await world.ask(_of_another_call(world, command))
    elif hasattr(command, "code") or hasattr(command, "user"):
        await world.ask(msgspec.structs.replace(command, **{"code" if hasattr(command, "code") else "user": NOBODY}))


def _bent(world: World, command: Command) -> Command:
    fields = [name for name in BENT if isinstance(getattr(command, name, None), int)]
    if not fields:
        return command
    name = world.chance.choice(fields)
    there: int = getattr(command, name)
    small = name in {"user", "key", "code"}
    by = world.chance.choice(BY[:3] if small else BY)
    return msgspec.structs.replace(command, **{name: max(0, there + by) if small else there + by})


def _of_another_call(world: World, command: OnCharge) -> Command:
    """On a charge that nobody has held; or, for a hold, one more, which nobody will end but the reaper."""
    if isinstance(command, Hold):
        amount = world.chance.choice((-1, 10, 10**17))
        return msgspec.structs.replace(command, charge=world.new_id(), client_request_id="", amount=amount)
    changes = {"task": world.new_id()} if isinstance(command, EndTask) or hasattr(command, "task") else {}
    return msgspec.structs.replace(command, charge=world.new_id(), **changes)
