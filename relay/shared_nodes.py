"""How many processes share what is limited: each says every two seconds that it is there, and counts who else did.

Known without Redis: the workers of this machine. What Redis counted last stays known while it is away, so that shares do not
grow when it is lost.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from relay.shared_link import Away, Link
from relay.shared_scripts import BEAT

BEAT_S: Final = 2.0
SILENT_MS: Final = 7_000
"""A process that said nothing for so long is gone."""
MAX_PROCESSES: Final = 256
"""More than this is no count."""


class Nodes:
    """The processes known to this one, itself included."""

    def __init__(self, link: Link, *, me: str, workers: int = 1) -> None:
        self._link = link
        self._me = me
        self._workers = max(1, workers)
        self._seen = 1
        self._has_beaten = False

    @property
    def count(self) -> int:
        """The workers of this machine, or as many as Redis last knew of, when these are more."""
        return max(self._workers, self._seen)

    async def run(self) -> None:
        """Say and count until cancelled."""
        while True:
            with suppress(Away):
                await self.beat()
            if self._link.is_up:
                await asyncio.sleep(BEAT_S)
            else:
                await self._link.ready(BEAT_S)

    async def beat(self) -> None:
        """Say that we are there, and count. Raises Away."""
        answer = await self._link.run(BEAT, [self._link.key("nodes", "all")], [self._me, SILENT_MS])
        count, was_known = answer if isinstance(answer, list) and len(answer) == 2 else (0, 0)
        if not isinstance(count, int) or not 1 <= count <= MAX_PROCESSES:
            self._link.odd("a count of processes")
            raise Away
        if self._has_beaten and was_known == 0:
            self._link.doubts += 1  # it was emptied, perhaps between two questions
        self._seen, self._has_beaten = count, True

    async def leave(self) -> None:
        """Say that we are gone."""
        with suppress(Away):
            await self._link.ask("ZREM", self._link.key("nodes", "all"), self._me)
