"""One seed's world: database, nodes, and everybody who wants something of them; first anything may fail, then nothing does.

Phase one is about safety: after every commit and every tick what must hold, holds. Phase two is about liveness: once faults have
stopped, everything comes to its end within a bounded time.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple

from domain.books import EMPTY, Decision, Result
from domain.commands import Command, OnCharge
from domain.events import TaskAccepted
from domain.streams import StreamId
from ledger.errors import LedgerClosed, LedgerUnavailable
from ledger.mapper import Recorded
from ledger.store import StoredFact
from tests.simulator import jobs, watch
from tests.simulator.auditor_money import opened_auditor
from tests.simulator.clocks import Clock
from tests.simulator.database import Database
from tests.simulator.faults import Answers, Breach, Faults
from tests.simulator.link import has_a_name
from tests.simulator.loop import TICK_MS, VirtualLoop, opened_loop, pause
from tests.simulator.node import Lost, Node, Process
from tests.simulator.plan import Plan, drawn
from tests.simulator.projecting import PAGE_FACTS, Projector
from tests.simulator.promises import Promises
from tests.simulator.redis import LyingRedis
from tests.simulator.work import KINDS, bootstrap, chaos, traffic

DEFAULT_TICKS = 150
QUIET_WITHIN_TICKS = 600
REMEMBERED = 200


class Outcome(NamedTuple):
    """What became of a seed. `breach` is empty when everything held."""

    seed: int
    digest: str
    breach: str
    commands: int
    facts: int
    answers: dict[tuple[str, str], int]
    faults: dict[str, int]
    topics: dict[str, int]


class World:
    def __init__(self, plan: Plan, chance: Random, loop: VirtualLoop) -> None:
        self.plan, self.chance, self.loop = plan, chance, loop
        self.faults = Faults(plan, chance)
        self.answers = Answers()
        self.commands = 0
        self.failure: BaseException | None = None
        self.dead_epochs: set[str] = set()
        self.upstream_tasks: dict[StreamId, tuple[Any, int]] = {}
        self.busy = 0
        self._numbers = 0
        self.known: deque[Command] = deque(maxlen=REMEMBERED)
        self.clock = Clock(loop, plan.start_ms, steady=True)
        self.database = Database(self.clock.now_ms, self._committed)
        self.redis = LyingRedis(loop, self.faults, chance)
        self.auditor = opened_auditor()
        self.watch = watch.Watch(self.dead_epochs)
        self.promises = Promises(self)
        self.projector = Projector(self.database, self.faults)
        self.nodes = [Node(self, number) for number in range(plan.nodes)]
        self._tasks: dict[asyncio.Task[None], None] = {}
        """Nobody else holds on to what a dead process was doing, and when it is collected must not depend on chance."""

    def set_going(self, story: Coroutine[Any, Any, None]) -> None:
        task = self.task(story)
        assert not task.done(), "it begins when the loop comes to it"

    def task(self, story: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something; what it raises ends the run."""
        task = self.loop.create_task(story)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            self.fail(task.exception())

    def fail(self, error: BaseException | None) -> None:
        self.failure = self.failure or error
        self.loop.stop()

    def new_id(self) -> StreamId:
        """A UUID of version 7 by the ledger's clock."""
        return f"{self.clock.now_ms():012x}7{self.chance.getrandbits(12):03x}8{self.chance.getrandbits(60):015x}"

    def restart(self, node: Node) -> None:
        if node.process is None:
            process = node.start()
            process.job(jobs.run(process))

    def begin(self, work: Awaitable[None]) -> None:
        """A client's errand. The run is not over before it is."""
        self.busy += 1
        self.set_going(self._counted(work))

    async def _counted(self, work: Awaitable[None]) -> None:
        await work
        self.busy -= 1

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def some_user(self) -> int:
        """A user who was registered, or now and then one who was not."""
        guard = self.database.guards.get("seq:user", EMPTY)
        return int(self.chance.randint(1, max(1, guard.balance + (self.chance.random() < 0.02))))

    def inviter_of(self, user: int) -> int:
        process = self.any_process()
        person = process.directory.users.get(user) if process else None
        return person.inviter if person else 0

    def any_process(self) -> Process | None:
        there = [node.process for node in self.nodes if node.process and not node.process.closing]
        return self.chance.choice(there) if there else None

    async def ask(self, command: Command, *, tries: int = 4) -> Result | None:
        """Ask any node until one answers; None when nobody did, and nothing is known. Only what has a name is sent again."""
        for attempt in range(tries if has_a_name(command) else 1):
            process = self.any_process()
            if process is None:
                await pause(300)
                continue
            try:
                return await process.ask(command)
            except (Lost, LedgerUnavailable, LedgerClosed):
                await pause(self.chance.uniform(50, 400) * (attempt + 1))
        return None

    def remember(self, command: Command, result: Result) -> None:
        """A command that is done with and may come again."""
        if result.ok and has_a_name(command):
            if isinstance(command, OnCharge) and command.charge in self.database.holds:
                return
            self.known.append(command)

    def _committed(
        self,
        batch: Sequence[Command],
        decision: Decision,
        recorded: list[Recorded],
        stored: list[StoredFact],
        now: int,
    ) -> None:
        self.commands += len(batch)
        for command, result in zip(batch, decision.results, strict=True):
            self.answers.note(command, result)
            self.auditor.replied(command, result, now)
        for row, record in zip(stored, recorded, strict=True):
            self.watch.see(row, record.fact)
            self.promises.committed(record)
        for account in (*decision.balances, *self.auditor.touched):
            if account.startswith("platform:") or account.endswith(":cap_spent"):
                continue
            guard = self.database.guards.get(account, EMPTY)
            self.watch.compare_one(account, guard)
            self.auditor.agrees(account, guard)
        self.auditor.touched.clear()
        if len(self.watch.open) != len(self.database.holds):
            raise Breach("the table of open holds has another length than the log leaves open")

    def check_whole(self) -> None:
        """Everything once more, from the bytes."""
        database = self.database
        again = watch.from_bytes(database.rows, self.dead_epochs)
        if (again.count, again.chain) != (self.watch.count, self.watch.chain):
            raise Breach(
                f"the log was changed: {self.watch.count} facts were written, {again.count} are there, or others"
            )
        again.compare(database.guards, database.holds)
        self.auditor.agrees_wholly(database.guards, again.sums)
        self.promises.check_all()

    def fail_over(self, *, lost: int = 0) -> None:
        self.database.fail_over(lost=lost)
        self.clock.step(self.chance.randint(-2_000, 2_000))
        self.check_whole()

    def tick(self) -> None:
        self.loop.run_for(TICK_MS)
        if self.failure is not None:
            raise self.failure
        if not self.database.is_down:
            self.projector.step(self.chance.randint(1, PAGE_FACTS))


def run(seed: int, ticks: int = DEFAULT_TICKS) -> Outcome:
    """Live through one seed."""
    plan, chance = drawn(seed, ticks, list(KINDS))
    with opened_loop() as loop:
        world = World(plan, chance, loop)
        breach = ""
        try:
            bootstrap(world)
            for node in world.nodes:
                world.restart(node)
            world.set_going(traffic(world))
            world.set_going(chaos(world))
            for _ in range(ticks):
                world.tick()
            world.check_whole()
            settle_down(world)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this seed's finding
            breach = f"{type(error).__name__}: {error}"
            if not isinstance(error, Breach):
                breach += "\n" + "".join(traceback.format_exception(error))
        return told(world, breach)


def settle_down(world: World) -> None:
    """Phase two. Nothing fails any more, nobody asks for anything new: everything comes to rest, and it is the right rest."""
    world.faults.over = True
    world.database.is_down = False
    for _ in range(QUIET_WITHIN_TICKS):
        world.tick()
        if not unrest(world):
            break
    else:
        raise Breach(f"after {QUIET_WITHIN_TICKS} ticks without a fault: {unrest(world)}")
    world.check_whole()
    world.promises.check_ends()
    world.projector.check()
    jobs.check_seals(world.database)


def unrest(world: World) -> str:
    """What is not over yet; empty when all is."""
    head = len(world.database.rows)
    if world.busy:
        return f"{world.busy} clients wait"
    if world.database.holds:
        return f"{len(world.database.holds)} holds are open"
    for node in world.nodes:
        if node.process is None:
            return f"{node.name} is down"
        if node.disk.kept:
            return f"{len(node.disk.kept)} ends wait in the spool of {node.name}"
        if node.process.directory.position != head:
            return f"{node.name} has seen {node.process.directory.position} of {head} facts"
        tasks = [begun for begun in node.process.directory.tasks.values() if not _is_full(world, begun)]
        if tasks:
            return f"{len(tasks)} tasks are open"
    if world.projector.projection.position != head:
        return f"the projection is at {world.projector.projection.position} of {head}"
    if not world.database.seals or world.database.seals[-1].last != head:
        return "the newest facts are not sealed"
    return ""


def _is_full(world: World, begun: TaskAccepted) -> bool:
    """What a task cost cannot go back as long as its payer's account is as full as an account may be."""
    return world.auditor.is_full(begun.user, world.auditor.charges[begun.charge].left)


def told(world: World, breach: str) -> Outcome:
    history = f"{world.watch.chain.hex()} {sorted(world.answers.items())} {sorted(world.faults.seen.items())}"
    history += f" {world.promises.count} {world.loop.time()!r} {breach}"
    return Outcome(
        world.plan.seed,
        blake2b(history.encode(), digest_size=12).hexdigest(),
        breach,
        world.commands,
        world.watch.count,
        dict(world.answers),
        dict(world.faults.seen),
        dict(world.projector.projection.topics),
    )
