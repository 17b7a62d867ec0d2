"""What the routes of a place cost, looked up once for each version of the place and of the price book."""

import msgspec

from domain.pricing import Price, PriceBook, Unpriced
from projections.routes import Place
from relay.errors import BadRequest

MAX_PLACES_KEPT = 4096


class Prices(msgspec.Struct, frozen=True):
    """What a place's routes cost, at one version of the price book."""

    place: Place
    book: PriceBook
    by_name: dict[str, Price]
    """By upstream model."""
    listed: tuple[Price, ...]
    """Each of them, as a hold pins them."""


class PricesKept:
    """The prices of places, looked up again where the place or the book has been exchanged for another."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Prices] = {}

    def of(self, place: Place, model: str, group: str, book: PriceBook) -> Prices:
        """Raises BadRequest for a model without a price."""
        kept = self._kept.get((group, model))
        if kept is None or kept.place is not place or kept.book is not book:
            if len(self._kept) >= MAX_PLACES_KEPT:
                self._kept.clear()
            kept = self._kept[group, model] = _prices(place, model, group, book)
        return kept


def _prices(place: Place, model: str, group: str, book: PriceBook) -> Prices:
    found: dict[str, Price] = {}
    for name in place.upstream_models:
        price = _price(name, model, group, book)
        if price is not None:
            found[name] = price
    if not found:
        raise BadRequest(
            f"no price is set for {model}; its operator sets ModelRatio or ModelPrice", code="model_price_error"
        )
    return Prices(place, book, found, tuple(found.values()))


def _price(upstream_model: str, model: str, group: str, book: PriceBook) -> Price | None:
    """The price of the name that upstream knows; of the name that was asked for where that one has none."""
    for name in (upstream_model, model):
        try:
            return book.price(name, group)
        except Unpriced:
            continue
    return None
