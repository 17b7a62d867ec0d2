"""Which channels serve a model in a group, the highest priority first. A change touches only the places of the channel it changed.

A place is read by every call, so what a draw needs is made when the place changes: running sums of weights, and the names that
have to be priced.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from domain.channel import Channel

SMOOTHING = 10
"""Added to every weight, as the family does: weights 0 and 0 share evenly, 100 and 0 share 110 to 10."""


class Served(NamedTuple):
    """A channel that serves a model: the name it knows it by, and the credential to call it with."""

    channel: Channel
    secret: str
    upstream_model: str


Tiers = tuple[tuple[Served, ...], ...]


class Place(NamedTuple):
    """The channels for one model in one group."""

    tiers: Tiers
    bounds: tuple[tuple[int, ...], ...]
    """Running sums of the weights of each tier, for a draw by bisection."""
    upstream_models: tuple[str, ...]
    """The names to be priced, each once, in the order of the tiers."""


NOWHERE = Place((), (), ())


def place_of(tiers: Tiers) -> Place:
    """A place of these tiers, none of them empty."""
    bounds = tuple(tuple(accumulate(max(0, one.channel.terms.weight) + SMOOTHING for one in tier)) for tier in tiers)
    return Place(tiers, bounds, tuple(dict.fromkeys(one.upstream_model for tier in tiers for one in tier)))


class Routes:
    """Places by (group, model). One thread changes them; readers take no lock: a place is exchanged whole."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], Place] = {}
        self._models: dict[str, tuple[str, ...]] = {}
        self._serving: dict[tuple[str, str], dict[int, Served]] = {}
        self._held: dict[int, tuple[tuple[str, str], ...]] = {}

    def place(self, group: str, model: str) -> Place:
        return self._places.get((group, model), NOWHERE)

    def models(self, group: str) -> tuple[str, ...]:
        """The models that a group can call, sorted."""
        return self._models.get(group, ())

    def change(self, channels: Mapping[int, Channel], secrets: Mapping[int, str], changed: Iterable[int]) -> None:
        """Take channels as they are by now: their places, old and new, are made again."""
        touched: set[tuple[str, str]] = set()
        for number in changed:
            for spot in self._held.pop(number, ()):
                self._serving[spot].pop(number, None)
                touched.add(spot)
            one = channels.get(number)
            if one is None or not one.is_enabled:
                continue
            found: list[tuple[str, str]] = []
            for name, upstream in _names(one).items():
                served = Served(one, secrets.get(number, ""), upstream)
                for group in one.terms.groups:
                    self._serving.setdefault((group, name), {})[number] = served
                    found.append((group, name))
            self._held[number] = tuple(found)
            touched.update(found)
        self._make(touched)

    def _make(self, touched: Iterable[tuple[str, str]]) -> None:
        groups: set[str] = set()
        for spot in touched:
            serving = self._serving[spot]
            if not serving:
                del self._serving[spot]
                groups.add(spot[0])
                self._places.pop(spot, None)
                continue
            if spot not in self._places:
                groups.add(spot[0])
            self._places[spot] = place_of(_tiers(serving))
        for group in groups:
            self._models[group] = tuple(sorted(name for of, name in self._places if of == group))


def _tiers(serving: Mapping[int, Served]) -> Tiers:
    by_priority: dict[int, list[Served]] = {}
    for number in sorted(serving):
        served = serving[number]
        by_priority.setdefault(served.channel.terms.priority, []).append(served)
    return tuple(tuple(by_priority[priority]) for priority in sorted(by_priority, reverse=True))


def _names(found: Channel) -> dict[str, str]:
    """The names that clients may ask a channel for, each with the name that upstream knows.

    A channel with a prefix answers to prefix + model; its bare names stay with the channels without one.
    """
    terms = found.terms
    names: dict[str, str] = {}
    for model in terms.models:
        asked = terms.model_prefix + model
        names[asked] = terms.model_mapping.get(asked) or terms.model_mapping.get(model) or model
    return names
