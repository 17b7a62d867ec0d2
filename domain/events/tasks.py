"""Facts of an asynchronous task (a video, a song): begun in the commit that charges it, ended once, refunded when it failed."""

from typing import ClassVar

from domain.events.fact import Fact


class TaskAccepted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The upstream took it on. `charge` paid for it."""

    TOPIC: ClassVar[str] = "task.accepted/1"

    charge: str
    user: int
    key: int
    capped: bool = False
    kind: str
    """`video`, `music`, `image` ...: who polls for it."""
    channel: int
    upstream_task_id: str
    deadline: int
    """ms; a task that has not ended by then is given up as failed."""


class TaskSucceeded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "task.succeeded/1"

    user: int
    charge: str


class TaskFailed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What was paid for it and not refunded before goes back, by a fact on the charge's stream."""

    TOPIC: ClassVar[str] = "task.failed/1"

    user: int
    charge: str
    why: str
    refunded: int
    """Mills"""
