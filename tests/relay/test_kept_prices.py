"""Prices that are kept: never those of a place or a book that has been exchanged for another."""

from __future__ import annotations

import pytest

from domain.channel import Channel
from domain.events import ChannelTerms
from domain.pricing import PriceBook
from projections.routes import Place, Served, place_of
from relay import prices as kept_prices
from relay.errors import BadRequest
from relay.prices import PricesKept

GROUP = "default"


def book(version: int, **ratios: str) -> PriceBook:
    table = ", ".join(f'"{model}": {ratio}' for model, ratio in ratios.items())
    return PriceBook.from_settings({"ModelRatio": f"{{{table}}}", "CompletionRatio": "{}"}, version)


def place(*upstream_models: str) -> Place:
    served = [
        Served(Channel(id=n, terms=ChannelTerms(models=("m",)), secret=""), "", name)
        for n, name in enumerate(upstream_models, 1)
    ]
    return place_of((tuple(served),))


def ratios(kept: PricesKept, where: Place, prices: PriceBook, model: str = "m") -> dict[str, str]:
    found = kept.of(where, model, GROUP, prices)
    assert found.listed == tuple(found.by_name.values())
    return {name: price.model_ratio for name, price in found.by_name.items()}


def test_every_name_of_a_place_has_its_price_and_one_without_has_that_of_the_name_asked_for() -> None:
    prices = book(1, m="2", other="3")

    assert ratios(PricesKept(), place("m", "other", "unknown"), prices) == {"m": "2", "other": "3", "unknown": "2"}


def test_the_same_place_and_book_are_looked_up_once() -> None:
    kept, where, prices = PricesKept(), place("m"), book(1, m="2")

    assert kept.of(where, "m", GROUP, prices) is kept.of(where, "m", GROUP, prices)


def test_a_new_book_counts_at_once() -> None:
    kept, where = PricesKept(), place("m")

    assert ratios(kept, where, book(1, m="2")) == {"m": "2"}
    assert ratios(kept, where, book(2, m="5")) == {"m": "5"}


def test_a_new_place_counts_at_once() -> None:
    kept, prices = PricesKept(), book(1, m="2", other="3")

    assert ratios(kept, place("m"), prices) == {"m": "2"}
    assert ratios(kept, place("other"), prices) == {"other": "3"}


def test_a_model_without_a_price_is_refused_each_time_and_priced_once_it_has_one() -> None:
    kept, where = PricesKept(), place("m")
    for _ in range(2):
        with pytest.raises(BadRequest, match="no price is set for m"):
            kept.of(where, "m", GROUP, book(1, other="3"))

    assert ratios(kept, where, book(2, m="4")) == {"m": "4"}


def test_groups_and_models_do_not_share_what_is_kept() -> None:
    prices = PriceBook.from_settings(
        {"ModelRatio": '{"m": 2, "n": 3}', "CompletionRatio": "{}", "GroupRatio": '{"default": 1, "vip": 0.5}'}, 1
    )
    kept, where = PricesKept(), place("m")

    assert kept.of(where, "m", "default", prices).listed[0].group_ratio == "1"
    assert kept.of(where, "m", "vip", prices).listed[0].group_ratio == "0.5"
    assert ratios(kept, place("n"), prices, model="n") == {"n": "3"}


def test_no_more_is_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_prices, "MAX_PLACES_KEPT", 2)
    kept, where, prices = PricesKept(), place("m"), book(1, m="2")
    first = kept.of(where, "m", "a", prices)
    for group in ("b", "c"):
        kept.of(where, "m", group, prices)

    assert kept.of(where, "m", "a", prices) is not first
    assert kept.of(where, "m", "a", prices).by_name == first.by_name
