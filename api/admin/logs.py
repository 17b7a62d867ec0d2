"""What calls cost, row by row and summed: administrators see everybody's, users their own."""

from time import time_ns
from typing import Annotated

import msgspec
from fastapi import Depends

from api.admin import log_shape
from api.admin.callers import AsAdmin, AsUser
from api.admin.envelope import Envelope, Page
from api.admin.key_shape import PREFIX
from api.admin.log_shape import LogShape, LogStatShape
from api.admin.paging import FromOne, Moment, Number, Slice, Words
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up
from domain.units import quota_rounded
from ledger.explain import stream_of
from projections.usage_queries import LogFilter

routes = Routes("logs")

NEWEST = 100
SEARCHED_ROWS = 1_000
"""How many of the newest rows a search for a text looks through."""


async def own_filter(
    type: Number = 0,
    start_timestamp: Moment = 0,
    end_timestamp: Moment = 0,
    token_name: Words = "",
    model_name: Words = "",
    group: Words = "",
    request_id: Words = "",
) -> LogFilter:
    """What a user may ask of the own rows; `model_name` is a LIKE pattern."""
    return LogFilter(
        type=type,
        start_s=start_timestamp,
        end_s=end_timestamp,
        token_name=token_name,
        model_name=model_name,
        group=group,
        request_id=request_id,
    )


Own = Annotated[LogFilter, Depends(own_filter)]


async def any_filter(own: Own, username: Words = "", channel: Number = 0) -> LogFilter:
    """What an administrator may ask of all rows."""
    return msgspec.structs.replace(own, username=username, channel=channel)


Anybodys = Annotated[LogFilter, Depends(any_filter)]


@routes.get("/api/log/", summary="Everybody's usage, the newest first")
def list_logs(site: Site, _: AsAdmin, at: FromOne, asked: Anybodys) -> Envelope[Page[LogShape]]:
    return _page(site, asked, at, for_admin=True)


@routes.get("/api/log/self", summary="One's own usage, the newest first")
def list_own_logs(site: Site, who: AsUser, at: FromOne, asked: Own) -> Envelope[Page[LogShape]]:
    return _page(site, msgspec.structs.replace(asked, user_id=who.id), at, for_admin=False)


@routes.get("/api/log/stat", summary="What everybody's calls cost, and the traffic of the last minute")
def read_log_stat(site: Site, _: AsAdmin, asked: Anybodys) -> Envelope[LogStatShape]:
    return _stat(site, asked)


@routes.get("/api/log/self/stat", summary="What one's own calls cost, and the traffic of the last minute")
def read_own_log_stat(site: Site, who: AsUser, asked: Own) -> Envelope[LogStatShape]:
    return _stat(site, msgspec.structs.replace(asked, user_id=who.id))


@routes.get("/api/log/search", summary="The newest rows by type, by request id, or by how their text begins")
def search_logs(site: Site, _: AsAdmin, keyword: Words = "") -> Envelope[list[LogShape]]:
    return _found(site, LogFilter(), keyword, for_admin=True)


@routes.get("/api/log/self/search", summary="One's own newest rows by type, by request id, or by how their text begins")
def search_own_logs(site: Site, who: AsUser, keyword: Words = "") -> Envelope[list[LogShape]]:
    return _found(site, LogFilter(user_id=who.id), keyword, for_admin=False)


@routes.get("/api/log/token", summary="The newest rows of one of one's own keys, by its text")
def list_logs_of_key(site: Site, who: AsUser, key: Words = "") -> Envelope[list[LogShape]]:
    as_of = caught_up(site)
    known = site.directory.authenticate(site.books.vault.digest("key", key.strip().removeprefix(PREFIX)))
    if known is None or known[0].user != who.id:
        return Envelope(data=[], as_of=as_of)
    mine = LogFilter(user_id=who.id, token_name=known[0].terms.name)
    rows = site.books.read.page_logs(mine, page=1, size=SEARCHED_ROWS).items
    shown = [log_shape.of_row(site, row, for_admin=False) for row in rows if row.token_id == known[0].id]
    return Envelope(data=shown[::-1], as_of=as_of)


def _page(site: Services, asked: LogFilter, at: Slice, *, for_admin: bool) -> Envelope[Page[LogShape]]:
    as_of = caught_up(site)
    found = site.books.read.page_logs(asked, page=at.page, size=at.size)
    items = [log_shape.of_row(site, row, for_admin=for_admin) for row in found.items]
    return Envelope(data=Page(items=items, total=found.total, page=at.page, page_size=at.size), as_of=as_of)


def _stat(site: Services, asked: LogFilter) -> Envelope[LogStatShape]:
    as_of = caught_up(site)
    found = site.books.read.log_stat(asked, time_ns() // 1_000_000)
    shown = LogStatShape(
        quota=quota_rounded(found.quota_mills), quota_mills=str(found.quota_mills), rpm=found.rpm, tpm=found.tpm
    )
    return Envelope(data=shown, as_of=as_of)


def _found(site: Services, asked: LogFilter, keyword: str, *, for_admin: bool) -> Envelope[list[LogShape]]:
    as_of = caught_up(site)
    begins = ""
    if keyword.isascii() and keyword.isdigit() and len(keyword) < 4:
        asked = msgspec.structs.replace(asked, type=int(keyword))
    elif _is_request_id(keyword):
        asked = msgspec.structs.replace(asked, request_id=keyword)
    else:
        begins = keyword
    rows = site.books.read.page_logs(asked, page=1, size=SEARCHED_ROWS if begins else NEWEST).items
    found = [row for row in rows if row.content.startswith(begins)][:NEWEST]
    return Envelope(data=[log_shape.of_row(site, row, for_admin=for_admin) for row in found], as_of=as_of)


def _is_request_id(keyword: str) -> bool:
    try:
        return bool(stream_of(keyword))
    except ValueError:
        return False
