"""Hours of use for charts: calls, tokens and quota by model, for administrators of everybody, for users their own.

Rows are added here, because a read model's page may end in the middle of an hour.
"""

from collections.abc import Iterator
from time import time
from typing import NamedTuple

from pydantic import BaseModel, Field

from api.admin.amounts import Mills
from api.admin.callers import AsAdmin, AsUser
from api.admin.envelope import Envelope
from api.admin.paging import Moment, Words
from api.admin.refusals import Invalid
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up
from domain.units import quota_rounded
from projections.rollups import HourRow

routes = Routes("logs")

MAX_SPAN_S = 2_592_000
"""Thirty days, for users; as in the family."""
ROWS_AT_ONCE = 1_000
MAX_PAGES = 100
TOO_MANY = "there are more hours than one answer holds: ask for a shorter time"


class HourShape(BaseModel):
    """One hour of one model; `id` counts the rows of an answer."""

    id: int
    user_id: int
    username: str
    model_name: str
    created_at: int = Field(description="the hour's first second")
    token_used: int
    count: int
    quota: int
    quota_mills: Mills


class _Place(NamedTuple):
    hour_s: int
    model: str


class _Sum:
    """What one hour of one model comes to."""

    def __init__(self) -> None:
        self.count = self.tokens = self.mills = 0

    def add(self, row: HourRow) -> None:
        self.count += row.count
        self.tokens += row.input_tokens + row.output_tokens
        self.mills += row.quota_mills


@routes.get("/api/data/", summary="Everybody's hours by model, or those of one user")
def list_hours(
    site: Site, _: AsAdmin, start_timestamp: Moment = 0, end_timestamp: Moment = 0, username: Words = ""
) -> Envelope[list[HourShape]]:
    as_of = caught_up(site)
    user_id = _named(site, username) if username else None
    if username and user_id is None:
        return Envelope(data=[], as_of=as_of)
    shown = _hours(site, start_timestamp, end_timestamp, user_id, username)
    return Envelope(data=shown, as_of=as_of)


@routes.get("/api/data/self", summary="One's own hours by model: the last thirty days, or as many within other bounds")
def list_own_hours(
    site: Site, who: AsUser, start_timestamp: Moment = 0, end_timestamp: Moment = 0
) -> Envelope[list[HourShape]]:
    end_s = end_timestamp or int(time())
    start_s = start_timestamp or max(0, end_s - MAX_SPAN_S)
    if end_s - start_s > MAX_SPAN_S:
        raise Invalid(f"end_timestamp: expected at most {MAX_SPAN_S} seconds (30 days) after start_timestamp")
    as_of = caught_up(site)
    row = site.books.read.user(who.id)
    shown = _hours(site, start_s, end_s, who.id, row.username if row else "")
    return Envelope(data=shown, as_of=as_of)


def _hours(site: Services, start_s: int, end_s: int, user_id: int | None, username: str) -> list[HourShape]:
    sums: dict[_Place, _Sum] = {}
    for row in _rows(site, start_s, end_s, user_id):
        sums.setdefault(_Place(row.hour_s, row.model), _Sum()).add(row)
    return [
        HourShape(
            id=0 if user_id is None else number,
            user_id=user_id or 0,
            username=username,
            model_name=place.model,
            created_at=place.hour_s,
            token_used=found.tokens,
            count=found.count,
            quota=quota_rounded(found.mills),
            quota_mills=str(found.mills),
        )
        for number, (place, found) in enumerate(sums.items(), start=1)
    ]


def _rows(site: Services, start_s: int, end_s: int, user_id: int | None) -> Iterator[HourRow]:
    """All rows of a time, page by page: the last hour of a full page is read again with the next one."""
    for _ in range(MAX_PAGES):
        page = site.books.read.hourly(start_s=start_s, end_s=end_s, user_id=user_id, limit=ROWS_AT_ONCE)
        if len(page) < ROWS_AT_ONCE:
            yield from page
            return
        last_s = page[-1].hour_s
        if page[0].hour_s == last_s:
            break
        yield from (row for row in page if row.hour_s < last_s)
        start_s = last_s
    raise Invalid(TOO_MANY)


def _named(site: Services, username: str) -> int | None:
    found = site.books.read.page_users(page=1, size=100, keyword=username).items
    return next((row.id for row in found if row.username == username), None)
