"""What every process does beside its calls: follow the log, drain its spool, poll tasks; and, where it leads, reap and seal.

Two processes may believe for a moment that they lead. It must not matter.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from domain.books import Result
from domain.commands import Command, EndTask
from ledger import seals
from ledger.epochs import expiry
from ledger.errors import LedgerError, LedgerUnavailable
from ledger.merkle import leaf_of, root_of
from ledger.seal_keys import key_from
from ledger.store import LedgerStore, OpenHold
from tests.simulator.faults import Breach
from tests.simulator.link import Died
from tests.simulator.loop import pause

if TYPE_CHECKING:
    from tests.simulator.database import Database
    from tests.simulator.node import Process

JOBS_EVERY_MS = 600
EARLY_LIMIT = 3
"""Of holds that are over only by a node's own clock, so many are tried a round."""
SEAL_KEY = key_from("VmVsb2VyYSBzaW11bGF0b3Igc2VhbCBrZXkgc2VlZCE=")


async def run(process: Process) -> None:
    """All of it, for the life of a process."""
    world, due_ms = process.world, 0
    if world.plan.embedded:
        await _tell_all(process, [_expiry(process, hold, dead=True) for hold in _dead_holds(process)])
    while True:
        await pause(world.chance.uniform(0.5, 1) * world.plan.lag_ms)
        process.directory.catch_up()
        if world.loop.elapsed_ms < due_ms:
            continue
        due_ms = world.loop.elapsed_ms + world.chance.randint(JOBS_EVERY_MS // 2, JOBS_EVERY_MS)
        try:
            await _round(process)
        except LedgerError:
            continue
        except Died:
            return


async def _round(process: Process) -> None:
    if process.world.chance.random() < 0.7:
        while process.drainer.step():
            pass
    await _poll(process)
    if _leads(process, "reaper"):
        await _reap(process)
    if _leads(process, "sealer"):
        seals.seal(cast(LedgerStore, process.world.database), SEAL_KEY, process.node.clock.now_ms())


def _leads(process: Process, name: str) -> bool:
    """Whether it believes so: a lead that was lost with a connection is noticed some time later."""
    world = process.world
    truly = world.database.leads.get(name) is process
    if name in process.believed_leads:
        if truly:
            return True
        if world.faults.strikes("lead_lost_unseen"):
            return True
        process.believed_leads.discard(name)
    if world.database.take_lead(name, process):
        process.believed_leads.add(name)
        return True
    return False


async def _reap(process: Process) -> None:
    world = process.world
    ledger_ms, here_ms = world.database.now_ms(), process.node.clock.now_ms()
    holds = world.database.open_holds(limit=50)
    dead = [hold for hold in holds if world.plan.embedded and hold.epoch in world.dead_epochs]
    over = [hold for hold in holds if hold.deadline <= ledger_ms]
    early = [hold for hold in holds if ledger_ms < hold.deadline <= here_ms][:EARLY_LIMIT]
    expiries = [_expiry(process, hold, dead=False) for hold in over + early if hold not in dead]
    await _tell_all(process, [*(_expiry(process, hold, dead=True) for hold in dead), *expiries])


def _dead_holds(process: Process) -> list[OpenHold]:
    world = process.world
    if world.database.is_down:
        return []
    return [hold for hold in world.database.open_holds() if hold.epoch in world.dead_epochs]


def _expiry(process: Process, hold: OpenHold, *, dead: bool) -> Command:
    return expiry(hold, process.node.name, dead=dead)


async def _poll(process: Process) -> None:
    """Ask upstream about every open task, whoever else does; what was found is told to the ledger."""
    world, ends = process.world, list[Command]()
    for task, begun in list(process.directory.tasks.items()):
        outcome, at_ms = world.upstream_tasks.get(task, ("failed", 0))
        if outcome != "never" and world.loop.elapsed_ms >= at_ms:
            found = outcome
        elif max(world.database.now_ms(), process.node.clock.now_ms()) >= begun.deadline:
            found = "given_up"
        else:
            continue
        ends.append(
            EndTask(
                charge=begun.charge,
                user=begun.user,
                key=begun.key,
                capped=begun.capped,
                task=task,
                outcome=found,
                why=found,
            )
        )
    await _tell_all(process, ends[:8])


async def _tell_all(process: Process, commands: list[Command]) -> list[Result]:
    """Results of those that were answered; the next round sees to the rest."""
    waiting: list[asyncio.Future[Result]] = []
    for command in commands:
        try:
            waiting.append(process.writer.submit(command))
        except LedgerError:
            break
    results: list[Result] = []
    for future in waiting:
        try:
            results.append(await future)
        except LedgerUnavailable:
            continue
    return results


def check_seals(database: Database) -> None:
    """Every block is the facts that it was made from, and follows the one before it."""
    previous, first = seals.NO_BLOCK, 1
    for seal in database.seals:
        rows = database.rows[first - 1 : seal.last]
        if seal.first != first or seal.previous != previous or root_of([leaf_of(row) for row in rows]) != seal.root:
            raise Breach(f"block {seal.number} is not what was sealed")
        previous, first = seals.hash_of(seal), seal.last + 1
