"""Sliding windows that all processes share. Redis counts places; a process that is asked often takes several at once.

The first call of a user is one round trip. A user who calls again while such a lease lives gets a larger one (1, 2, 4 ... at
most 64 places, for a second at most, and never more than that process's half share of what is free), so that the calls in
between need none. Places are counted when they are leased and are forgotten a part of the window late, so **while Redis answers,
all processes together grant no more than the limit** in any stretch of a window. A lease that was not used up is given back
within 1.25 s; until then up to 64 places for each process may be refused though nobody took them.

The bounds when it does not: gone or slow, each process grants `limit / processes` on what it counted itself, which is at most
`limit - limit / processes` more for each loss. Back, perhaps empty, it is told what each process had counted: by its next
question, else within three seconds or so; until then it may grant at most what the silent ones have. Whatever Redis says, no process
grants more than the limit by its own count, and an answer that cannot be counts as none.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import ceil
from time import monotonic, time
from typing import Final, NamedTuple

from relay.shared_link import Away, Link, Part
from relay.shared_scripts import TAKE
from relay.windows import BUCKETS, MAX_REMEMBERED, MemoryWindows, Taken, share

LEASE_S: Final = 1.0
MAX_LEASE: Final = 64
"""Places."""
KEPT: Final = BUCKETS + 2
"""Parts for which Redis keeps a count: a place leased at the end of one may be used a part later."""
SETTLE_S: Final = 0.25
MAX_SETTLED: Final = 256
"""Windows in which places are given back, each time."""
MAX_RETOLD: Final = 2_000
"""Windows of which Redis is told anew when it is back: those asked for last."""
REFUSAL_S: Final = 0.1
"""A window that is full is not asked again for so long."""
MAX_CLOCK_S: Final = 30.0
"""Redis' clock may differ from ours by this; what says another time is no answer."""
LIFE_CHARACTERS: Final = 16


class SharedWindows:
    """One process's view. Used on one event loop; `run` gives back what was leased and not used."""

    def __init__(
        self,
        link: Link,
        *,
        processes: Callable[[], int] = lambda: 1,
        named: Callable[[str], str] = str,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._link = link
        self._processes = processes
        self._named = named
        self._clock = clock
        self._wall = wall
        self._max_remembered = max_remembered
        self._own = MemoryWindows(clock=clock, max_remembered=max_remembered)
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._unsettled: dict[str, _Slot] = {}
        self._doubts = 0

    async def take(self, name: str, *, limit: int, window_s: float) -> Taken:
        """Count one more, unless `limit` were counted within the last `window_s`."""
        slot = self._slot(name, window_s)
        if slot.is_leased(self._clock()):
            return self._from_lease(slot, limit)
        if not self._link.is_up:
            return self._alone(slot, limit)
        slot.waiting += 1
        try:
            async with slot.lock:
                return await self._taken(slot, limit)
        finally:
            slot.waiting -= 1

    def give_back(self, name: str, taken: Taken) -> None:
        """Count one less. Other processes learn of it within a second or so."""
        self._own.give_back(name, taken)
        slot = self._slots.get(name)
        if slot is None:
            return
        slot.full_until = 0.0
        if taken.shared_place:
            slot.give_back(taken.shared_place, self._clock())
            self._unsettled[name] = slot
        elif slot.untold.get(taken.place, 0) > 0:
            slot.untold[taken.place] -= 1

    async def run(self) -> None:
        """Give back what is due until cancelled."""
        while True:
            await asyncio.sleep(SETTLE_S)
            await self.settle()

    async def settle(self) -> None:
        """Give back what was leased and not used in time; tell a Redis that is back what it may have lost."""
        now = self._clock()
        if self._link.is_up and self._link.doubts != self._doubts:
            self._doubts = self._link.doubts
            self._doubt()
        due = [slot for slot in self._unsettled.values() if slot.doubted or slot.returns or now >= slot.leased_until]
        for slot in due[:MAX_SETTLED]:
            if not self._link.is_up:
                return
            async with slot.lock:
                slot.end_lease(self._clock())
                with suppress(Away):
                    if slot.returns or slot.doubted:
                        slot.doubted = False
                        await self._ask(slot, wanted=0, limit=slot.limit)
            if not slot.returns and not slot.left and self._unsettled.get(slot.name) is slot:
                del self._unsettled[slot.name]

    def _doubt(self) -> None:
        """Redis was away or is new: it does not know what was counted alone, nor perhaps anything else."""
        for name, slot in itertools.islice(reversed(self._slots.items()), MAX_RETOLD):
            if self._own.counted(name):
                slot.doubted = True
                self._unsettled[name] = slot

    async def _taken(self, slot: _Slot, limit: int) -> Taken:
        now = self._clock()
        if slot.is_leased(now):
            return self._from_lease(slot, limit)
        if now < slot.full_until:
            return Taken(False, retry_after_s=slot.free_at - now)
        refused = self._own.refused(slot.name, limit=limit, window_s=slot.window_s)
        if refused is not None:
            return refused
        wanted = slot.next_lease(now)
        try:
            grant = await self._ask(slot, wanted=wanted, limit=limit)
        except Away:
            return self._alone(slot, limit)
        if grant.places == 0:
            slot.free_at = now + grant.wait_s
            slot.full_until = now + min(REFUSAL_S, grant.wait_s)
            return Taken(False, retry_after_s=grant.wait_s)
        slot.begin_lease(grant, now)
        if slot.left > 1:
            self._unsettled[slot.name] = slot
        return self._from_lease(slot, limit)

    def _from_lease(self, slot: _Slot, limit: int) -> Taken:
        taken = self._own.take(slot.name, limit=limit, window_s=slot.window_s)
        if not taken.granted:
            return taken
        slot.left -= 1
        return taken._replace(shared_place=slot.part)

    def _alone(self, slot: _Slot, limit: int) -> Taken:
        """This process's share, of what it counted itself."""
        own_limit = share(limit, self._processes())
        taken = self._own.take(slot.name, limit=own_limit, window_s=slot.window_s)
        if taken.granted and self._link.is_configured:
            slot.untold[taken.place] = slot.untold.get(taken.place, 0) + 1
            for old in [place for place in slot.untold if place < taken.place - BUCKETS]:
                del slot.untold[old]
        return taken

    async def _ask(self, slot: _Slot, *, wanted: int, limit: int) -> _Grant:
        """Lease places, and tell what Redis does not know yet. Raises Away."""
        slot.limit = limit
        key = self._link.key("w", self._named(f"{slot.name} {slot.window_s}"))
        for _ in range(2):
            untold, returns = dict(slot.untold), slot.returns
            # Gone if the answer is lost: one place too few is better than one too many.
            slot.returns = {}
            nonce = secrets.token_hex(LIFE_CHARACTERS // 2)
            # Who counted nothing has nothing to tell to a window that is new.
            known = slot.life if self._own.counted(slot.name) else ""
            pairs = [*self._told(slot, untold), *((part, -count) for part, count in returns.items())]
            terms: list[Part] = [nonce, known, wanted, limit, slot.part_ms, KEPT, 2 * self._processes()]
            terms.extend(number for pair in pairs for number in pair)
            answer = await self._link.run(TAKE, [key], terms)
            grant = self._read(answer, nonce, wanted, slot)
            slot.life = grant.life
            if grant.places >= 0:
                slot.told(untold)
                return grant
            # It lost what it knew of this window: tell it all that we know.
            slot.returns = {}
            slot.untold = dict(self._own.counted(slot.name))
        self._link.odd("a window that is another each time")
        raise Away

    def _told(self, slot: _Slot, untold: dict[int, int]) -> Iterator[tuple[int, int]]:
        """What was counted here alone, by Redis' parts of the window: both clocks are near the same."""
        now, now_ms = self._clock(), self._wall() * 1000
        for place, count in untold.items():
            age_ms = max(0.0, (now - (place + 1) * slot.window_s / BUCKETS) * 1000)
            yield int((now_ms - age_ms) // slot.part_ms), count

    def _read(self, answer: object, nonce: str, wanted: int, slot: _Slot) -> _Grant:
        grant = _grant(answer, nonce, wanted, slot)
        if grant is None or abs(grant.at_s - self._wall()) > MAX_CLOCK_S:
            self._link.odd("a window")
            raise Away
        return grant

    def _slot(self, name: str, window_s: float) -> _Slot:
        slot = self._slots.get(name)
        if slot is None or slot.window_s != window_s:
            slot = self._slots[name] = _Slot(name, window_s)
            if len(self._slots) > self._max_remembered:
                oldest, _ = self._slots.popitem(last=False)
                self._unsettled.pop(oldest, None)
        self._slots.move_to_end(name)
        return slot


class _Grant(NamedTuple):
    life: str
    places: int
    """-1: Redis does not know the window that we know."""
    part: int
    wait_s: float
    at_s: float


def _grant(answer: object, nonce: str, wanted: int, slot: _Slot) -> _Grant | None:
    """What an answer of the script says; None when it cannot be one."""
    if not isinstance(answer, list) or len(answer) != 6:
        return None
    echo, life, *numbers = answer
    if echo != nonce.encode() or not isinstance(life, bytes) or len(life) != LIFE_CHARACTERS or not life.isalnum():
        return None
    if not all(isinstance(number, int) for number in numbers):
        return None
    places, part, wait_ms, now_ms = numbers
    most_ms = KEPT * slot.part_ms
    if not (-1 <= places <= wanted and 0 <= wait_ms <= most_ms and part == now_ms // slot.part_ms):
        return None
    return _Grant(life.decode(), places, part, wait_ms / 1000, now_ms / 1000)


class _Slot:
    """What one process has of one window: a lease of places, and what Redis has still to be told."""

    __slots__ = (
        "doubted",
        "free_at",
        "full_until",
        "leased_until",
        "left",
        "life",
        "limit",
        "lock",
        "name",
        "part",
        "part_ms",
        "places",
        "returns",
        "untold",
        "waiting",
        "window_s",
    )

    def __init__(self, name: str, window_s: float) -> None:
        self.name = name
        self.window_s = window_s
        self.part_ms = max(1, ceil(window_s * 1000 / BUCKETS))
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.limit = 0
        self.life = ""
        """Which hash in Redis we have told what we know."""
        self.doubted = False
        """Redis may have lost it."""
        self.places = 1
        self.left = 0
        self.part = 0
        self.leased_until = 0.0
        self.full_until = self.free_at = 0.0
        self.untold: dict[int, int] = {}
        """Counted without Redis, by our parts of the window."""
        self.returns: dict[int, int] = {}
        """Leased and not used, by Redis' parts of the window."""

    def is_leased(self, now: float) -> bool:
        return self.left > 0 and now < self.leased_until

    def next_lease(self, now: float) -> int:
        """How many places to ask for: twice as many when the last lease was soon used up, else as many as it took."""
        if now < self.leased_until:
            self.places = min(MAX_LEASE, 2 * self.places)
        else:
            self.end_lease(now)
        return min(MAX_LEASE, max(self.places, self.waiting))

    def begin_lease(self, grant: _Grant, asked_at: float) -> None:
        self.places = self.left = grant.places
        self.part = grant.part
        # From before the question: Redis forgets a place a part of the window late, and no later.
        self.leased_until = asked_at + min(LEASE_S, self.part_ms / 1000)

    def end_lease(self, now: float) -> None:
        """Once its time is over, what is left is to be given back."""
        if now < self.leased_until:
            return
        if self.left:
            self.returns[self.part] = self.returns.get(self.part, 0) + self.left
            self.places = max(1, self.places - self.left)
            self.left = 0
        elif self.leased_until:
            self.places = max(1, self.places // 2)
            self.leased_until = 0.0

    def give_back(self, part: int, now: float) -> None:
        if part == self.part and now < self.leased_until:
            self.left += 1
        else:
            self.returns[part] = self.returns.get(part, 0) + 1

    def told(self, untold: dict[int, int]) -> None:
        """Redis knows these; what was given back or counted meanwhile stays to be told."""
        for place, count in untold.items():
            rest = self.untold.get(place, 0) - count
            if rest > 0:
                self.untold[place] = rest
            else:
                self.untold.pop(place, None)
