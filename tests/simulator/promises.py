"""What was promised to somebody outside, and whether it stands: checked when it is promised, and again at the end.

Whoever was answered knows it for ever. This looks at answers and at the log, and at nothing in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.books import Result
from domain.commands import Command
from domain.events import ChargeHeld, ChargeSettled, ChargeSettledLate, Fact, TopUpFlagged, TopUpSettled
from domain.streams import StreamId
from ledger.mapper import Recorded, encode
from ledger.spool_frames import decode
from tests.simulator.faults import Breach

if TYPE_CHECKING:
    from tests.simulator.node import Process
    from tests.simulator.relaying import Request
    from tests.simulator.world import World

Written = tuple[str, bytes]


class Promises:
    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[Written, Command] = {}
        self._paid: dict[str, StreamId] = {}
        self._attempts: dict[StreamId, str] = {}
        self._asked: dict[StreamId, Request] = {}
        self._whole: list[Request] = []
        self._credited: dict[tuple[str, str], StreamId] = {}
        self.count = 0

    def acknowledged(self, command: Command, result: Result) -> None:
        """A process was answered. A fact it was told of is in the log already, and stays."""
        self.count += 1
        self._world.remember(command, result)
        if result.status not in ("created", "exists") or result.fact is None:
            return
        written = (result.fact.TOPIC, encode(result.fact))
        if written not in self._world.watch.written:
            raise Breach(
                f"{type(command).__name__} was answered {result.status}, and no {result.fact.TOPIC} is in the log"
            )
        self._told[written] = command

    def committed(self, recorded: Recorded) -> None:
        """Nobody pays twice for one attempt, nor for more than upstream produced, nor where it was not asked."""
        stream, fact = recorded.stream, recorded.fact
        if isinstance(fact, ChargeHeld) and fact.client_request_id:
            self._attempts[stream] = fact.client_request_id
        elif isinstance(fact, ChargeSettled | ChargeSettledLate) and stream in self._attempts:
            attempt = self._attempts[stream]
            if self._paid.setdefault(attempt, stream) != stream:
                raise Breach(f"attempt {attempt} is paid for by {self._paid[attempt]} and by {stream}")
            request = self._asked.get(stream)
            if request is None:
                raise Breach(f"attempt {attempt} is charged, and upstream was never asked")
            if fact.usage.output > request.produced or fact.usage.input > request.input:
                raise Breach(f"attempt {attempt} is charged for more than upstream produced")

    def upstream_is_asked(self, request: Request) -> None:
        if request.charge not in self._world.database.streams:
            raise Breach(f"upstream was asked for {request.attempt} without a hold")
        self._asked[request.charge] = request

    def answer_is_whole(self, process: Process, request: Request) -> None:
        """The last byte of an answer goes out."""
        if len(self._world.database.streams.get(request.charge, ())) < 2 and not _is_kept(process, request.charge):
            raise Breach(f"{request.attempt} was answered whole, and its charge is nowhere")
        self._whole.append(request)

    def success_is_told(self, provider: str, trade: str, stream: StreamId) -> None:
        """A payment provider hears that its notice was taken in, and forgets about it."""
        self._credited[provider, trade] = stream
        self._must_be_taken_in(stream, trade)

    def check_all(self) -> None:
        """At the end, or after a standby has taken over."""
        for written, command in self._told.items():
            if written not in self._world.watch.written:
                raise Breach(f"a {written[0]} that was acknowledged ({type(command).__name__}) is not in the log")
        for (_, trade), stream in self._credited.items():
            self._must_be_taken_in(stream, trade)

    def check_ends(self) -> None:
        """When everything is at rest: what was answered whole is charged."""
        for request in self._whole:
            past = self._world.database.streams[request.charge]
            bill = next((fact for fact in past if isinstance(fact, ChargeSettled | ChargeSettledLate)), None)
            if bill is None:
                raise Breach(f"{request.attempt} was answered whole and was never charged")

    def _must_be_taken_in(self, stream: StreamId, trade: str) -> None:
        past: list[Fact] = self._world.database.streams.get(stream, [])
        if not any(isinstance(fact, TopUpSettled | TopUpFlagged) for fact in past):
            raise Breach(f"payment {trade} was answered success and is not in the log")


def _is_kept(process: Process, charge: StreamId) -> bool:
    return any(decode(payload).command.charge == charge for payload in process.node.disk.kept)
