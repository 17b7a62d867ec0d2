"""What a node believes of users, keys, codes and tasks: as the log said a while ago, and never less than that."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from domain import api_key, gift_code, user
from domain.events import Fact, TaskAccepted, TaskFailed, TaskSucceeded
from domain.streams import StreamId

if TYPE_CHECKING:
    from tests.simulator.node import Process

T = TypeVar("T")
STUCK_MS = 5_000


class View:
    """Users, keys, codes and open tasks after some facts; `versions` of their streams."""

    def __init__(self) -> None:
        self.users: dict[int, user.User] = {}
        self.keys: dict[int, api_key.ApiKey] = {}
        self.codes: dict[int, gift_code.GiftCode] = {}
        self.tasks: dict[StreamId, TaskAccepted] = {}
        self.versions: dict[StreamId, int] = {}

    def fold(self, stream: StreamId, version: int, fact: Fact) -> None:
        self.versions[stream] = version
        kind, _, _ = fact.TOPIC.partition(".")
        number: int = getattr(fact, "id", 0)
        if kind == "user":
            _keep(self.users, number, user.after(self.users.get(number), fact))
        elif kind == "key":
            _keep(self.keys, number, api_key.after(self.keys.get(number), fact))
        elif kind == "code":
            _keep(self.codes, number, gift_code.after(self.codes.get(number), fact))
        elif isinstance(fact, TaskAccepted):
            self.tasks[stream] = fact
        elif isinstance(fact, TaskSucceeded | TaskFailed):
            self.tasks.pop(stream, None)


def _keep(there: dict[int, T], number: int, after: T | None) -> None:
    if after is not None:
        there[number] = after


class Directory(View):
    """One process's view, which follows the log and lags behind it."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        self._index = 0
        self.position = 0
        self.seen_ms = -STUCK_MS - 1
        self.catch_up()
        if process.world.plan.wake_ups:
            process.world.redis.listen(self.catch_up)

    def catch_up(self) -> None:
        """Read on, if the database answers; a wake-up or the timer comes here."""
        process = self._process
        database = process.world.database
        if not process.alive or database.is_down:
            return
        small = database.small
        while self._index < len(small):
            row = database.rows[small[self._index]]
            self.fold(row.stream, row.version, database.facts[small[self._index]])
            self._index += 1
        self.position = len(database.rows)
        self.seen_ms = process.world.loop.elapsed_ms

    @property
    def is_stuck(self) -> bool:
        """True before the first look, and when the last one is too long ago: new calls are refused."""
        return self._process.world.loop.elapsed_ms - self.seen_ms > STUCK_MS
