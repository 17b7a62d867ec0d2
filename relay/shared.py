"""What processes share that is not money: limits, wake-ups, and who else is there. Through Redis when it is there.

Redis lost, slow, emptied or lying changes how quick and how exact this is, and nothing else: without it limits fall to this
process's share and wake-ups to polling, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import NamedTuple

from relay.shared_link import RETRY_S, TIMEOUT_S, Link, cancelled
from relay.shared_nodes import Nodes
from relay.shared_wakeups import Wakeups
from relay.shared_windows import SharedWindows

NAME_CHARACTERS = 32


class Standing(NamedTuple):
    """How it is, for people."""

    redis: str
    """`none`, `up` or `away`."""
    processes: int
    """That share what is limited, as far as is known."""


class Shared:
    """One process's part. Made anywhere, started on the loop that serves; until then, and without a URL, it is alone."""

    def __init__(
        self,
        url: str = "",
        *,
        digest: Callable[[str, str], str] = lambda purpose, value: f"{purpose} {value}",
        workers: int = 1,
        timeout_s: float = TIMEOUT_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """`digest` names what must not be named, as `Vault.digest` does: no name of ours reaches Redis without it."""
        self._digest = digest
        me = secrets.token_hex(8)
        space = digest("shared", "space")[:12] if url else ""
        self.link = Link(url, space=space, timeout_s=timeout_s, retry_s=retry_s)
        self.nodes = Nodes(self.link, me=me, workers=workers)
        self.wakeups = Wakeups(self.link, me=me)
        self.windows = SharedWindows(self.link, processes=lambda: self.nodes.count, named=self.named)
        self._tasks: list[asyncio.Task[None]] = []

    def named(self, name: str) -> str:
        """A name by which Redis may know something; from it nobody learns the name."""
        return self._digest("shared", name)[:NAME_CHARACTERS]

    @property
    def standing(self) -> Standing:
        redis = "none" if not self.link.is_configured else "up" if self.link.is_up else "away"
        return Standing(redis, self.nodes.count)

    async def start(self) -> None:
        """Begin; nothing here waits for Redis. Raises ValueError for a URL that is none."""
        if not self.link.is_configured:
            return
        await self.link.start()
        jobs = (self.nodes.run(), self.windows.run(), self.wakeups.say(), self.wakeups.listen())
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def stop(self) -> None:
        for task in self._tasks:
            await cancelled(task)
        await self.nodes.leave()
        await self.link.stop()
