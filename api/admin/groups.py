"""Groups as users see them: which of them their keys may name, and what each costs.

A group is usable when the site offers it to everybody, or when it is the user's own.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import cast

from pydantic import BaseModel, Field

from api.admin.callers import AsAdmin
from api.admin.envelope import Envelope
from api.admin.routing import Routes
from api.admin.services import Site, followed
from domain.settings import InvalidSetting, Settings

routes = Routes("site")

Number = int | float
"""For display: money is never counted with one."""


class GroupShape(BaseModel):
    """A group by its price multiplier and its description."""

    ratio: Number
    desc: str = Field(description="what the operator says about it")


@routes.get("/api/group/", summary="Names of all groups that have a ratio")
def list_groups(site: Site, _: AsAdmin) -> Envelope[list[str]]:
    followed(site)
    return Envelope(data=sorted(site.directory.settings.ratios("GroupRatio")))


@routes.get("/api/user/groups", summary="Groups that everybody may use")
def list_usable_groups(site: Site) -> Envelope[dict[str, GroupShape]]:
    return Envelope(data=usable_groups(site.directory.settings))


def usable_groups(settings: Settings, own: str = "") -> dict[str, GroupShape]:
    """Groups that a user may name, by name; `own` is theirs, "" for a guest. Only groups that have a ratio are offered."""
    ratios = settings.ratios("GroupRatio")
    offered = descriptions(settings)
    found = {
        name: GroupShape(ratio=shown_number(ratios[name]), desc=offered[name]) for name in offered if name in ratios
    }
    if own and own not in found:
        found[own] = GroupShape(ratio=shown_number(ratios.get(own, Fraction(1))), desc="your group")
    return found


def descriptions(settings: Settings) -> dict[str, str]:
    """What the site offers everybody; nothing where a migrated text cannot be read."""
    try:
        return cast("dict[str, str]", settings.json("UserUsableGroups"))
    except InvalidSetting:
        return {}


def shown_number(exact: Fraction | Decimal) -> Number:
    """A number for JSON: whole where it is whole."""
    return int(exact) if exact == math.floor(exact) else float(exact)
