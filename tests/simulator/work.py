"""Who wants what of the gateways, how often; and what is done to the machines meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from domain.commands import Grant
from tests.simulator import mischief, work_calls, work_money, work_people
from tests.simulator.loop import TICK_MS, pause
from tests.simulator.node import Node

if TYPE_CHECKING:
    from tests.simulator.world import World

KINDS: dict[str, tuple[float, Callable[[World], Awaitable[None]]]] = {
    "call": (8, work_calls.call),
    "task_call": (2, work_calls.task_call),
    "refund": (1.5, work_calls.refund),
    "pay": (1.5, work_money.pay),
    "redeem": (1, work_money.redeem),
    "check_in": (1, work_money.check_in),
    "adjust": (1, work_money.adjust),
    "grant": (0.7, work_money.grant),
    "import_row": (0.6, work_money.import_row),
    "transfer_invite": (0.8, work_money.transfer_invite),
    "sign_up": (0.7, work_people.sign_up),
    "make_key": (0.4, work_people.make_key),
    "make_channel": (0.1, work_people.make_channel),
    "issue_code": (0.6, work_people.issue_code),
    "change_code": (0.7, work_people.change_code),
    "limit_key": (0.8, work_people.limit_key),
    "stand": (0.7, work_people.stand),
    "rename": (0.4, work_people.rename),
    "change_standing": (0.3, work_people.change_standing),
    "delete": (0.4, work_people.delete),
    "change_setting": (0.2, work_people.change_setting),
    "again": (2.5, mischief.again),
}
"""Each kind of work and its usual share."""

CHAOS_EVERY_MS = 250
MOST_RICH = 9 * 10**18 - 60_000


def bootstrap(world: World) -> None:
    """Some users with some quota, keys and a code or two, before anything can fail."""
    for number in range(1, world.plan.users + 1):
        world.database.commit([work_people.sign_up_command(world, 0)])
        amount = MOST_RICH if world.plan.rich and number == 1 else world.chance.choice((300, 20_000, 500_000))
        world.database.commit([Grant(user=number, amount=amount, why="opening")])
        for _ in range(world.chance.choice((1, 1, 2))):
            world.database.commit([work_people.key_command(world, number)])
    for _ in range(2):
        world.database.commit([work_people.code_command(world)])


async def traffic(world: World) -> None:
    """Phase one's work, by the seed's mix."""
    names = list(KINDS)
    weights = [KINDS[name][0] * world.plan.work[name] for name in names]
    weights[0] = weights[0] or 1.0
    until_ms = world.plan.ticks * TICK_MS
    while world.loop.elapsed_ms < until_ms:
        await pause(world.chance.expovariate(world.plan.work_per_tick) * TICK_MS)
        (name,) = world.chance.choices(names, weights)
        world.begin(KINDS[name][1](world))


async def chaos(world: World) -> None:
    """Machines stop, the database goes away, a standby takes over, clocks are set."""
    faults = world.faults
    while not faults.over:
        await pause(world.chance.uniform(0.5, 1.5) * CHAOS_EVERY_MS)
        node = world.chance.choice(world.nodes)
        if faults.strikes("crash_of_a_node"):
            node.crash()
        if node.process and faults.strikes("shutdown"):
            node.process.closing = True
            world.loop.call_later(world.chance.uniform(0.1, 1.5), _stop, node)
        if faults.strikes("clock_step"):
            node.clock.step(world.chance.choice((-3_600_000, -700, 700, 3_600_000)))
        if faults.strikes("lead_lost_unseen"):
            world.database.leads.clear()
        if not world.database.is_down and faults.strikes("fail_over"):
            world.fail_over()
            _away(world, 200, 1_200)
        if not world.database.is_down and faults.strikes("outage"):
            world.database.leads.clear()
            _away(world, 300, 8_000)


def _away(world: World, shortest_ms: int, longest_ms: int) -> None:
    world.database.is_down = True
    world.loop.call_later(
        world.chance.randint(shortest_ms, longest_ms) / 1000, setattr, world.database, "is_down", False
    )


def _stop(node: Node) -> None:
    if node.process and node.process.closing:
        node.crash()
