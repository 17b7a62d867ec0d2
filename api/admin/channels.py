"""Channels, for administrators. A credential goes in and is shown by one route alone, which leaves a fact behind."""

from typing import Annotated

from fastapi import Path, Request
from pydantic import BaseModel, Field

from api.admin import channel_shape
from api.admin.amounts import Body, Id
from api.admin.callers import AsAdmin
from api.admin.changes import carry_out, folded, once, together
from api.admin.channel_shape import ChannelFields, ChannelShape
from api.admin.channel_terms import terms_from
from api.admin.envelope import Envelope
from api.admin.paging import Flag, FromZero, Words, is_on
from api.admin.refusals import Invalid, Missing, Unavailable, invalid
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up
from domain import channel, price_tables, streams
from domain.channel import Channel, Status
from domain.commands import Append
from domain.events import ChannelTerms

routes = Routes("channels")

ChannelId = Annotated[int, Path(ge=1, le=2**53)]

MAX_BATCH = 1_000
CHANNELS_AT_ONCE = 1_000
CATALOGUED_AT_S = 1_626_777_600
"""The family's fixed moment for models whose own nobody states."""


class ChannelEdit(ChannelFields):
    """A channel, and what shall be different."""

    id: Id


class Batch(Body):
    """Several channels."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_BATCH)]


class ChannelKey(BaseModel):
    """The credential of a channel."""

    id: int
    key: str


class ModelShape(BaseModel):
    """A model as OpenAI lists it."""

    id: str
    object: str = "model"
    created: int = CATALOGUED_AT_S
    owned_by: str = "veloera"


@routes.get("/api/channel/", summary="Channels, by priority or by id")
def list_channels(
    site: Site, _: AsAdmin, at: FromZero, id_sort: Flag = "", tag_mode: Flag = ""
) -> Envelope[list[ChannelShape]]:
    as_of = caught_up(site)
    rows = site.books.read.page_channels(page0=at.page, size=at.size, id_sort=is_on(id_sort), tag_mode=is_on(tag_mode))
    return Envelope(data=[channel_shape.of_row(row) for row in rows], as_of=as_of)


@routes.get("/api/channel/search", summary="Channels by id or part of the name, by group, by part of a model")
def search_channels(
    site: Site, _: AsAdmin, keyword: Words = "", group: Words = "", model: Words = "", id_sort: Flag = ""
) -> Envelope[list[ChannelShape]]:
    as_of = caught_up(site)
    rows = site.books.read.search_channels(keyword=keyword, group=group, model=model, id_sort=is_on(id_sort))
    return Envelope(data=[channel_shape.of_row(row) for row in rows], as_of=as_of)


@routes.get("/api/channel/models", summary="Models that have a price of ours, to choose from")
def list_known_models(_: AsAdmin) -> Envelope[list[ModelShape]]:
    names = {*price_tables.MODEL_RATIO, *price_tables.MODEL_PRICE}
    return Envelope(data=[ModelShape(id=name) for name in sorted(names)])


@routes.get("/api/channel/models_enabled", summary="Models that some enabled channel serves")
def list_enabled_models(site: Site, _: AsAdmin) -> Envelope[list[str]]:
    as_of = caught_up(site)
    return Envelope(data=sorted(_enabled_models(site)), as_of=as_of)


@routes.get("/api/channel/{channel_id:int}", summary="One channel, without its credential")
def read_channel(site: Site, _: AsAdmin, channel_id: ChannelId) -> Envelope[ChannelShape]:
    return _shown(site, channel_id)


@routes.get("/api/channel/{channel_id:int}/key", summary="A channel's credential; that it was shown is recorded")
def read_channel_key(site: Site, who: AsAdmin, channel_id: ChannelId) -> Envelope[ChannelKey]:
    found, _ = living(site, channel_id)
    carry_out(site, lambda: channel.showing(found, actor=who.id))
    return Envelope(data=ChannelKey(id=channel_id, key=site.books.vault.text(found.secret)))


@routes.post("/api/channel/", summary="Make a channel")
def create_channel(site: Site, who: AsAdmin, request: Request, new: ChannelFields) -> Envelope[ChannelShape]:
    terms = terms_from(new, ChannelTerms(type=0))
    if not terms.type:
        raise invalid("type", "the kind of the upstream, such as 1 for OpenAI", new.type)
    if not terms.models:
        raise Invalid("models: expected at least one name of a model, with commas between several")
    command = channel.creation(
        terms=terms,
        secret=site.books.vault.put(new.key.strip()),
        status=_status(new.status, Status.ENABLED),
        actor=who.id,
        token=once(request, who.id) if "idempotency-key" in request.headers else "",
    )
    made = carry_out(site, lambda: command)
    return _shown(site, made.id)


@routes.put("/api/channel/", summary="Change a channel; fields that are left out stay")
def update_channel(site: Site, who: AsAdmin, edit: ChannelEdit) -> Envelope[ChannelShape]:
    carry_out(site, lambda: _edited(site, who.id, edit))
    return _shown(site, edit.id)


@routes.delete("/api/channel/{channel_id:int}", summary="Delete a channel: its credential is erased, the facts stay")
def delete_channel(site: Site, who: AsAdmin, channel_id: ChannelId) -> Envelope[None]:
    carry_out(site, lambda: _deletion(site, [channel_id], who.id))
    return Envelope(data=None)


@routes.post("/api/channel/batch", summary="Delete several channels, all or none; the answer is how many")
def delete_channels(site: Site, who: AsAdmin, batch: Batch) -> Envelope[int]:
    ids = list(dict.fromkeys(batch.ids))
    carry_out(site, lambda: _deletion(site, ids, who.id))
    return Envelope(data=len(ids))


def living(site: Services, channel_id: int) -> tuple[Channel, int]:
    """A channel that was not deleted, and the version of its stream. Raises Missing."""
    found, version = folded(site.books.store.read_stream(streams.channel(channel_id)), channel.from_facts)
    if found is None or found.deleted:
        raise Missing(f"there is no channel {channel_id}")
    return found, version


def _shown(site: Services, channel_id: int) -> Envelope[ChannelShape]:
    as_of = caught_up(site)
    row = site.books.read.channel(channel_id)
    if row is None:
        living(site, channel_id)
        raise Unavailable("the lists are being built: try again in a moment")
    return Envelope(data=channel_shape.of_row(row), as_of=as_of)


def _edited(site: Services, actor: int, edit: ChannelEdit) -> Append | None:
    found, version = living(site, edit.id)
    terms = terms_from(edit, found.terms)
    status = _status(edit.status, found.status)
    secret = site.books.vault.put(edit.key.strip()) if edit.key.strip() else None
    changes: list[Append] = []
    if terms != found.terms or secret is not None:
        changes.append(channel.change(found, version, terms=terms, secret=secret, actor=actor))
    if status != found.status:
        changes.append(channel.status_change(found, version, status, actor=actor))
    return together(streams.channel(edit.id), version, *changes) if changes else None


def _status(given: int, now: int) -> int:
    """The status that a person sets; 3 is the gateway's to set, and may only stay."""
    if given not in (0, now, Status.ENABLED, Status.SWITCHED_OFF):
        raise invalid("status", "1 (enabled) or 2 (switched off)", given)
    return given or now


def _deletion(site: Services, ids: list[int], actor: int) -> Append:
    """Delete channels as they are now. Raises Missing when one of them is not there."""
    deletions: list[Append] = []
    for channel_id in ids:
        found, version = living(site, channel_id)
        deletions.append(together(streams.channel(channel_id), version, channel.deletion(found, actor=actor)))
    return Append(
        parts=tuple(part for deletion in deletions for part in deletion.parts),
        vault_delete=tuple(ref for deletion in deletions for ref in deletion.vault_delete),
    )


def _enabled_models(site: Services) -> set[str]:
    names: set[str] = set()
    page0 = 0
    while rows := site.books.read.page_channels(page0=page0, size=CHANNELS_AT_ONCE, id_sort=True):
        names.update(model for row in rows if row.status == Status.ENABLED for model in row.terms.models)
        page0 += 1
    return names
