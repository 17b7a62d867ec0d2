"""Prices as people see them: every model that a visitor's groups can call, with its multipliers.

Numbers here are for reading. What a call costs is computed from the exact texts in its own fact.
"""

from fractions import Fraction

from pydantic import BaseModel, Field

from api.admin.callers import AsVisitor
from api.admin.envelope import Envelope
from api.admin.groups import Number, shown_number, usable_groups
from api.admin.routing import Routes
from api.admin.services import Services, Site
from domain.pricing import Price

routes = Routes("site")

BY_RATIO, BY_CALL = 0, 1


class PriceShape(BaseModel):
    """A model's price, the group's multiplier left out."""

    model_name: str
    quota_type: int = Field(description="0 by ratio, 1 by call")
    model_ratio: Number = Field(description="quota for one token of input")
    model_price: Number = Field(description="USD for a call; 0 when it is priced by ratio")
    owner_by: str = ""
    completion_ratio: Number
    cache_ratio: Number
    enable_groups: list[str]


class PriceList(Envelope[list[PriceShape]]):
    """The envelope of this one route has the groups beside the data, as in the family."""

    group_ratio: dict[str, Number]
    usable_group: dict[str, str]


@routes.get("/api/pricing", summary="Prices of the models that one can call")
def list_prices(site: Site, who: AsVisitor) -> PriceList:
    groups = usable_groups(site.directory.settings, who.user.group if who else "")
    serving: dict[str, list[str]] = {}
    for group in groups:
        for model in site.directory.models(group):
            serving.setdefault(model, []).append(group)
    return PriceList(
        data=[_shape(site, model, enabled) for model, enabled in sorted(serving.items())],
        group_ratio={name: group.ratio for name, group in groups.items()},
        usable_group={name: group.desc for name, group in groups.items()},
    )


def _shape(site: Services, model: str, groups: list[str]) -> PriceShape:
    """What the relay would pin for a call of this model: upstream's name is priced first, then the asked one."""
    price = _price(site, model, groups[0])
    return PriceShape(
        model_name=model,
        quota_type=BY_CALL if price.per_call else BY_RATIO,
        model_ratio=_number(price.model_ratio),
        model_price=_number(price.per_call),
        completion_ratio=_number(price.completion_ratio),
        cache_ratio=_number(price.cache_ratio),
        enable_groups=groups,
    )


def _price(site: Services, model: str, group: str) -> Price:
    book = site.directory.book
    upstream = next((served.upstream_model for tier in site.directory.routes(group, model) for served in tier), model)
    name = upstream if book.is_priced(upstream) else model
    return book.price(name, group, accept_unpriced=True)


def _number(ratio: str) -> Number:
    return shown_number(Fraction(ratio or 0))
