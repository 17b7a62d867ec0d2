"""The way from a process to the database and back, on which everything that can go wrong goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from domain.books import Result
from domain.commands import Append, Command, LimitKey, Register
from ledger.errors import LedgerUnavailable
from tests.simulator.loop import pause

if TYPE_CHECKING:
    from tests.simulator.node import Process

CALL_MS = (0.5, 4.0)
SLOW_MS = (200, 6_000)


class Died(BaseException):
    """The process was killed in the middle of a step that does not wait for anything."""


class Link:
    """One process's connection. An answer takes no time unless it takes long: the way there is where others come between."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def commit(self, batch: Sequence[Command]) -> list[Result]:
        """Raises LedgerUnavailable; then nobody knows whether it was committed. Waits for ever when the process dies."""
        faults, database = self._world.faults, self._world.database
        generation = database.generation
        bounds = SLOW_MS if faults.strikes("slow_request") else CALL_MS
        await pause(self._world.chance.uniform(*bounds))
        if faults.strikes("connection_lost") or generation != database.generation:
            raise LedgerUnavailable("the connection was lost")
        if faults.strikes("crash_before_commit"):
            self._process.node.crash()
        if not self._process.alive and (self._process.world.plan.embedded or not faults.strikes("commit_of_the_dead")):
            await _for_ever()
        results = self._commit(batch)
        if faults.strikes("crash_after_commit"):
            self._process.node.crash()
        if faults.strikes("slow_acknowledgement"):
            await pause(self._world.chance.uniform(*SLOW_MS))
        if not self._process.alive:
            await _for_ever()
        if faults.strikes("lost_acknowledgement") or generation != database.generation:
            raise LedgerUnavailable("the acknowledgement was lost")
        return results

    def commit_at_once(self, batch: Sequence[Command]) -> list[Result]:
        """The same without a pause, for callers that block. Raises Died when the process dies."""
        faults = self._world.faults
        if faults.strikes("crash_before_commit"):
            self._process.node.crash()
            raise Died
        results = self._commit(batch)
        if faults.strikes("crash_after_commit"):
            self._process.node.crash()
            raise Died
        if faults.strikes("lost_acknowledgement"):
            raise LedgerUnavailable("the acknowledgement was lost")
        for command, result in zip(batch, results, strict=True):
            self._world.promises.acknowledged(command, result)
        return results

    def _commit(self, batch: Sequence[Command]) -> list[Result]:
        database, faults = self._world.database, self._world.faults
        if faults.strikes("fail_before_commit"):
            raise LedgerUnavailable("the disk is full")
        try:
            results = database.commit(batch)
            if faults.strikes("duplicate_delivery"):
                results = self._again(batch, results)
        except LedgerUnavailable:
            raise
        except Exception as error:
            self._world.fail(error)  # callers may take it for one command's trouble
            raise
        return results

    def _again(self, batch: Sequence[Command], results: list[Result]) -> list[Result]:
        """The same arrives a second time: sent again by whoever missed the answer and hears this one, or late, a copy.

        A copy of what was refused does not come late: nobody makes one.
        """
        database, named = self._world.database, [has_a_name(command) for command in batch]
        if all(named) and self._world.chance.random() < 0.5:
            return database.commit(batch)
        pairs = zip(batch, results, named, strict=True)
        database.commit([command for command, result, is_named in pairs if is_named and result.ok])
        return results


def has_a_name(command: Command) -> bool:
    """Whether it may be sent again by somebody who does not know what became of it."""
    if isinstance(command, Append):
        return False
    if isinstance(command, LimitKey):
        return bool(command.command_key)
    return not isinstance(command, Register) or bool(command.token)


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()
