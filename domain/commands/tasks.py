"""Commands on a task: it begins in the commit that charges it, and what it cost comes back once when it fails."""

from typing import Literal

from domain.commands.charges import OnCharge, Settle
from domain.streams import StreamId


class Accept(Settle, frozen=True, kw_only=True):
    """The upstream took a task on: settle its charge and begin the task, in one step."""

    task: str
    """UUIDv7 of the gateway, 32 hex digits: the task's stream."""
    kind: str
    upstream_task_id: str
    task_ttl_ms: int
    """From the commit to the moment at which it is given up."""

    def streams(self) -> tuple[StreamId, ...]:
        return (*super().streams(), self.task)


class EndTask(OnCharge, frozen=True, kw_only=True):
    """What a poller found. A failure refunds what was paid, whoever sees it first; `given_up` only after the deadline."""

    task: str
    outcome: Literal["succeeded", "failed", "given_up"]
    why: str = ""

    def streams(self) -> tuple[StreamId, ...]:
        return (self.task, self.charge)
