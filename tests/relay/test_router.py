"""A draw goes by weight within its priority, never to a channel that has failed while another is left, never to one without a price."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.channel import Channel
from domain.events import ChannelTerms
from domain.pricing import Price, PriceBook
from projections.routes import Place, Routes, Served, place_of
from relay.router import Router

PRICE = PriceBook.from_settings({}, 1).price("gpt-4o", "default")
DRAWS = 4_000


def served(number: int, *, weight: int = 0, priority: int = 0, upstream: str = "m") -> Served:
    terms = ChannelTerms(models=("m",), weight=weight, priority=priority, model_mapping={"m": upstream})
    return Served(Channel(id=number, terms=terms, secret="s"), "key", upstream)


def drawn(router: Router, place: Place, retries: int, prices: dict[str, Price] | None = None) -> list[int]:
    known = prices or dict.fromkeys(place.upstream_models, PRICE)
    return [route.channel_id for route in router.routes(place, known, retries=retries)]


def test_weights_share_with_ten_added_to_each() -> None:
    place = place_of(((served(1, weight=100), served(2, weight=0)),))
    router = Router(random.Random(1))

    counts = Counter(drawn(router, place, 0)[0] for _ in range(DRAWS))

    assert counts[1] / DRAWS == pytest.approx(110 / 120, abs=0.02)


@given(
    tiers=st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4), min_size=1, max_size=3),
    retries=st.integers(0, 15),
    seed=st.integers(0, 2**32),
)
def test_each_attempt_goes_down_a_priority_and_to_a_channel_that_is_fresh_while_one_is_left(
    tiers: list[list[int]], retries: int, seed: int
) -> None:
    numbers = iter(range(1, 100))
    place = place_of(tuple(tuple(served(next(numbers), weight=weight) for weight in tier) for tier in tiers))
    everybody = [one.channel.id for tier in place.tiers for one in tier]

    found = drawn(Router(random.Random(seed)), place, retries)

    fresh = found[: len(everybody)]
    assert len(set(fresh)) == len(fresh)
    assert found[0] in [one.channel.id for one in place.tiers[0]]
    if len(found) > 1 and len(place.tiers) > 1:
        assert found[1] in [one.channel.id for one in place.tiers[1]]


def test_what_has_no_price_is_never_drawn() -> None:
    place = place_of(((served(1, upstream="priced"), served(2, upstream="not")), (served(3, upstream="not"),)))

    found = {number for seed in range(50) for number in drawn(Router(random.Random(seed)), place, 3, {"priced": PRICE})}

    assert found == {1}


def test_a_change_of_a_channel_moves_it_between_priorities_and_groups() -> None:
    routes = Routes()
    channels = {1: served(1).channel, 2: served(2, priority=5).channel}
    routes.change(channels, {}, channels)
    before = [one.channel.id for tier in routes.place("default", "m").tiers for one in tier]

    channels[1] = Channel(id=1, terms=ChannelTerms(models=("m",), groups=("vip",), priority=9), secret="s")
    routes.change(channels, {}, [1])

    assert before == [2, 1]
    assert [one.channel.id for tier in routes.place("default", "m").tiers for one in tier] == [2]
    assert [one.channel.id for tier in routes.place("vip", "m").tiers for one in tier] == [1]
    assert (routes.models("default"), routes.models("vip")) == (("m",), ("m",))
