"""Which channel carries a call, and whether another may try after it failed.

The n-th attempt uses the n-th priority, and within it a channel drawn by weight; a channel that failed is not drawn again while
another is left.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from domain.pricing import Price
from projections.routes import Place, Served, place_of

MAX_ATTEMPTS = 16
NEVER_RETRIED = frozenset({400, 408, 504, 524})
RETRIED = frozenset({307, 429})


class Route(msgspec.Struct, frozen=True):
    """A channel and key chosen for a call, and the price if this one answers."""

    served: Served
    credential: str
    price: Price

    @property
    def channel_id(self) -> int:
        return self.served.channel.id


class Router:
    """Draws channels. Keeps one number per channel with several keys: whose turn it is."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._random = rng or random.Random()
        self._turns: dict[int, int] = {}

    def routes(self, place: Place, prices: Mapping[str, Price], *, retries: int) -> Iterator[Route]:
        """At most `retries` + 1 routes. `prices` by upstream model; a channel without a price is never drawn."""
        usable = place if len(prices) == len(place.upstream_models) else _priced(place, prices)
        tried: set[int] = set()
        for attempt in range(min(retries, MAX_ATTEMPTS - 1) + 1):
            served = self._draw(usable, attempt, tried)
            tried.add(served.channel.id)
            yield self.route(served, prices[served.upstream_model])

    def route(self, served: Served, price: Price) -> Route:
        return Route(served, self._credential(served), price)

    def _draw(self, place: Place, attempt: int, tried: set[int]) -> Served:
        at = min(attempt, len(place.tiers) - 1)
        tier, bounds = place.tiers[at], place.bounds[at]
        last = len(tier) - 1
        drawn = tier[bisect_right(bounds, self._random.random() * bounds[-1], hi=last) if last else 0]
        return drawn if drawn.channel.id not in tried else self._draw_fresh(place, tier, tried)

    def _draw_fresh(self, place: Place, tier: Sequence[Served], tried: set[int]) -> Served:
        fresh = tuple(served for served in tier if served.channel.id not in tried)
        if not fresh:
            others = tuple(served for other in place.tiers for served in other if served.channel.id not in tried)
            fresh = others or tuple(tier)
        return self._draw(place_of((fresh,)), 0, set())

    def _credential(self, served: Served) -> str:
        """The channel's key; of several, separated by commas or lines, the next one."""
        if "," not in served.secret and "\n" not in served.secret:
            return served.secret.strip()
        keys = [key.strip() for key in served.secret.replace("\n", ",").split(",") if key.strip()]
        turn = self._turns.get(served.channel.id, 0)
        self._turns[served.channel.id] = turn + 1
        return keys[turn % len(keys)] if keys else ""


def _priced(place: Place, prices: Mapping[str, Price]) -> Place:
    """The part of a place that has prices; some of it has, or nothing would have been quoted."""
    tiers = (tuple(served for served in tier if served.upstream_model in prices) for tier in place.tiers)
    return place_of(tuple(tier for tier in tiers if tier))


def worth_another_route(status: int) -> bool:
    """Whether another channel may do better than this status, as the family decides it."""
    if 200 <= status < 300 or status in NEVER_RETRIED:
        return False
    return status in RETRIED or status >= 500 or 300 <= status < 500
