"""The daily reward: once for a user and a UTC day, as the ledger's clock has it. What it is worth is drawn where the site says so."""

import secrets
from time import time_ns

from pydantic import BaseModel

from api.admin.amounts import Mills
from api.admin.callers import AsUser
from api.admin.changes import check
from api.admin.envelope import Envelope
from api.admin.readable import Readable
from api.admin.refusals import Conflict, Forbidden, Unavailable
from api.admin.routing import Routes
from api.admin.services import Services, Site
from domain import streams
from domain.books import Result
from domain.commands import CheckIn
from domain.gifts import day_of
from domain.units import mills

routes = Routes("account")

TRIES = 2
"""Midnight may pass between one look at the clock and the next."""


class CheckInStatus(BaseModel):
    """Whether a reward waits."""

    can_check_in: bool


class RewardShape(BaseModel):
    """What the day was worth."""

    quota: int
    quota_mills: Mills


@routes.get("/api/user/check_in_status", summary="Whether today's reward waits")
def read_check_in_status(site: Site, who: AsUser) -> Envelope[CheckInStatus]:
    is_waiting = is_offered(site) and not site.books.store.read_stream(streams.check_in(who.id, today()))
    return Envelope(data=CheckInStatus(can_check_in=is_waiting))


@routes.post("/api/user/check_in", summary="Take today's reward")
def check_in(site: Site, who: AsUser) -> Envelope[RewardShape]:
    if not is_offered(site):
        raise Forbidden("this site gives no daily reward")
    quota, result = reward(site), Result("stale")
    for _ in range(TRIES):
        result = site.books.writer.submit_blocking(CheckIn(user=who.id, day=today(), amount=mills(quota)))
        if result.status != "stale":
            break
    if result.status == "exists":
        raise Conflict("you have taken today's reward: the next day begins at midnight UTC")
    if result.status == "stale":
        raise Unavailable("it is about midnight, and the clocks do not agree yet: try again in a moment")
    check(result)
    return Envelope(data=RewardShape(quota=quota, quota_mills=str(mills(quota))))


def is_offered(site: Services) -> bool:
    return Readable(site.directory.settings).flag("CheckInEnabled")


def reward(site: Services) -> int:
    """Whole quota: the least, or anything from it to the most where that is more."""
    settings = Readable(site.directory.settings)
    least, most = settings.whole("CheckInQuota"), settings.whole("CheckInMaxQuota")
    return least + secrets.randbelow(max(0, most - least) + 1)


def today() -> str:
    return day_of(time_ns() // 1_000_000)
