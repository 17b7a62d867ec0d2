"""API keys, each for its owner alone: administrators do not see those of others.

The whole text is shown when a key is made and when its owner reads that one key; lists show its ends.
"""

import secrets
import string
from typing import Annotated

import msgspec
from fastapi import Path, Request
from pydantic import Field

from api.admin import key_shape
from api.admin.amounts import Body, Id, Quota, QuotaChange
from api.admin.callers import AsUser, Caller
from api.admin.changes import carry_out, folded, once, together
from api.admin.envelope import Envelope
from api.admin.groups import descriptions
from api.admin.key_shape import MAX_LIST_CHARS, TokenShape
from api.admin.paging import Flag, FromZero, Words, is_on
from api.admin.people import balance_mills
from api.admin.refusals import Conflict, Invalid, Missing, invalid
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up
from domain import accounts, api_key, streams
from domain.accounts import MAX_ACCOUNT_MILLS
from domain.api_key import ApiKey, Status
from domain.commands import Append, LimitKey
from domain.events import KeyTerms
from domain.units import mills
from projections.keys import KeyRow

routes = Routes("keys")

KeyId = Annotated[int, Path(ge=1, le=2**53)]
Listed = Annotated[str, Field(max_length=MAX_LIST_CHARS)]

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
KEY_CHARS = 48
MAX_KEYS_PER_USER = 1_000


class NewToken(Body):
    """A key to be made."""

    name: str = ""
    expired_time: Annotated[int, Field(le=2**53)] = key_shape.NEVER
    remain_quota: Quota = 0
    unlimited_quota: bool = False
    model_limits_enabled: bool = False
    model_limits: Listed = ""
    allow_ips: Listed | None = ""
    group: str = ""


class TokenEdit(QuotaChange):
    """What shall be different; fields that are left out stay. `status` counts only with `status_only` in the query.

    `remain_quota` is written and compared like a user's `quota`: with `quota_seen` it is the difference, and `quota_delta` is
    the difference itself.
    """

    id: Id
    status: int | None = None
    name: str | None = None
    expired_time: Annotated[int, Field(le=2**53)] | None = None
    quota: Annotated[Quota | None, Field(alias="remain_quota")] = None
    unlimited_quota: bool | None = None
    model_limits_enabled: bool | None = None
    model_limits: Listed | None = None
    allow_ips: Listed | None = None
    group: str | None = None


@routes.get("/api/token/", summary="One's own keys, the newest first")
def list_tokens(site: Site, who: AsUser, at: FromZero) -> Envelope[list[TokenShape]]:
    as_of = caught_up(site)
    rows = site.books.read.page_keys(who.id, page0=at.page, size=at.size)
    return Envelope(data=[_listed(site, row) for row in rows], as_of=as_of)


@routes.get("/api/token/search", summary="One's own keys by part of the name, or of the key's text")
def search_tokens(site: Site, who: AsUser, keyword: Words = "", token: Words = "") -> Envelope[list[TokenShape]]:
    as_of = caught_up(site)
    text = token.strip().removeprefix(key_shape.PREFIX)
    rows = site.books.read.search_keys(who.id, keyword, limit=MAX_KEYS_PER_USER if text else 100)
    found = [row for row in rows if text in site.books.vault.text(row.secret_ref)] if text else rows
    return Envelope(data=[_listed(site, row) for row in found[:100]], as_of=as_of)


@routes.get("/api/token/{key_id:int}", summary="One of one's own keys, with its whole text")
def read_token(site: Site, who: AsUser, key_id: KeyId) -> Envelope[TokenShape]:
    as_of = caught_up(site)
    found, _ = own_key(site, who, key_id)
    return Envelope(data=_whole(site, found), as_of=as_of)


@routes.post("/api/token/", summary="Make a key; the answer has its whole text")
def create_token(site: Site, who: AsUser, request: Request, new: NewToken) -> Envelope[TokenShape]:
    if site.books.read.count_keys(who.id) >= MAX_KEYS_PER_USER:
        raise Conflict(f"a user has at most {MAX_KEYS_PER_USER:,} keys: delete one that you do not use")
    terms = KeyTerms(
        name=key_shape.check_name(new.name),
        expires_at=key_shape.expiry(new.expired_time),
        model_limits_enabled=new.model_limits_enabled,
        model_limits=key_shape.models(new.model_limits),
        allow_ips=key_shape.addresses(new.allow_ips or ""),
        group=_usable(site, who, new.group),
    )
    limit = None if new.unlimited_quota else mills(_limit(new.remain_quota))
    text = "".join(secrets.choice(ALPHABET) for _ in range(KEY_CHARS))
    command = api_key.creation(
        user=who.id,
        digest=site.books.vault.digest("key", text),
        secret=site.books.vault.put(text),
        terms=terms,
        limit_mills=limit,
        actor=who.id,
        token=once(request, who.id) if "idempotency-key" in request.headers else "",
    )
    made = carry_out(site, lambda: command)
    found, _ = own_key(site, who, made.id)
    return Envelope(data=_whole(site, found))


@routes.put("/api/token/", summary="Change a key's terms or limit; with status_only its status")
def update_token(
    site: Site, who: AsUser, request: Request, edit: TokenEdit, status_only: Flag = ""
) -> Envelope[TokenShape]:
    if is_on(status_only):
        carry_out(site, lambda: _switched(site, who, edit))
    else:
        key = once(request, who.id, "key", edit.id) if "idempotency-key" in request.headers else ""
        limit = _limit_change(site, who, edit, key)
        carry_out(site, lambda: _new_terms(site, who, edit))
        carry_out(site, lambda: limit)
    found, _ = own_key(site, who, edit.id)
    as_of = caught_up(site)
    return Envelope(data=_whole(site, found), as_of=as_of)


@routes.delete("/api/token/{key_id:int}", summary="Delete a key: it opens nothing any more")
def delete_token(site: Site, who: AsUser, key_id: KeyId) -> Envelope[None]:
    def change() -> Append:
        found, version = own_key(site, who, key_id)
        return together(streams.key(key_id), version, api_key.deletion(found, actor=who.id))

    carry_out(site, change)
    return Envelope(data=None)


def own_key(site: Services, who: Caller, key_id: int) -> tuple[ApiKey, int]:
    """A key of the caller's, and the version of its stream. Raises Missing, also for a key of somebody else."""
    found, version = folded(site.books.store.read_stream(streams.key(key_id)), api_key.from_facts)
    if found is None or found.deleted or found.user != who.id:
        raise Missing(f"you have no key {key_id}")
    return found, version


def _whole(site: Services, found: ApiKey) -> TokenShape:
    row = site.books.read.key(found.id)
    return key_shape.of_key(
        site,
        found,
        key_shape.whole(site.books.vault.text(found.secret)),
        used_mills=row.used_mills if row else 0,
        accessed_at=row.accessed_at if row else 0,
    )


def _listed(site: Services, row: KeyRow) -> TokenShape:
    return key_shape.of_row(site, row, key_shape.masked(site.books.vault.text(row.secret_ref)))


def _usable(site: Services, who: Caller, group: str) -> str:
    """A group that the caller's keys may name; "" for the caller's own. Raises Invalid."""
    usable = {who.user.group, *descriptions(site.directory.settings)}
    if group and group not in usable:
        raise invalid("group", f"one of yours ({', '.join(sorted(usable))}), or none for your own", group)
    return group


def _limit(remain_quota: int) -> int:
    if remain_quota < 0:
        raise invalid("remain_quota", "0 or more", remain_quota)
    return remain_quota


def _switched(site: Services, who: Caller, edit: TokenEdit) -> Append | None:
    """The change of status, by a person: on or off. Raises Conflict where a key cannot be switched on as it is."""
    status = edit.status
    if status is None or status not in (Status.ENABLED, Status.DISABLED):
        raise invalid("status", "1 (enabled) or 2 (disabled)", status)
    found, version = own_key(site, who, edit.id)
    left = balance_mills(site, accounts.cap(found.id))
    shown = key_shape.shown_status(msgspec.structs.replace(found, status=Status.ENABLED), left)
    if status == Status.ENABLED and shown == Status.EXPIRED:
        raise Conflict("this key has expired: give it a later expired_time, or -1 for never, then enable it")
    if status == Status.ENABLED and shown == Status.EXHAUSTED:
        raise Conflict("this key has used up its limit: raise remain_quota or make it unlimited, then enable it")
    return None if status == found.status else api_key.status_change(found, version, status, actor=who.id)


def _new_terms(site: Services, who: Caller, edit: TokenEdit) -> Append | None:
    found, version = own_key(site, who, edit.id)
    old = found.terms
    terms = KeyTerms(
        name=old.name if edit.name is None else key_shape.check_name(edit.name),
        expires_at=old.expires_at if edit.expired_time is None else key_shape.expiry(edit.expired_time),
        model_limits_enabled=old.model_limits_enabled
        if edit.model_limits_enabled is None
        else edit.model_limits_enabled,
        model_limits=old.model_limits if edit.model_limits is None else key_shape.models(edit.model_limits),
        allow_ips=old.allow_ips if edit.allow_ips is None else key_shape.addresses(edit.allow_ips),
        group=old.group if edit.group in (None, old.group) else _usable(site, who, edit.group or ""),
    )
    return None if terms == old else api_key.terms_change(found, version, terms, actor=who.id)


def _limit_change(site: Services, who: Caller, edit: TokenEdit, command_key: str) -> LimitKey | None:
    """The change of what a key may spend; None when none is asked for. Raises Invalid before anything is changed."""
    found, _ = own_key(site, who, edit.id)
    unlimited = found.unlimited if edit.unlimited_quota is None else edit.unlimited_quota
    if unlimited:
        return None if found.unlimited else LimitKey(key=edit.id, unlimited=True, command_key=command_key, actor=who.id)
    delta = edit.delta_mills
    if delta is not None:
        left = balance_mills(site, accounts.cap(found.id))
        if not 0 <= left + delta <= MAX_ACCOUNT_MILLS:
            raise Invalid(f"quota_delta: expected a change to 0 or more, but {left:,} mills are left")
        return LimitKey(key=edit.id, delta=delta, command_key=command_key, actor=who.id)
    if edit.quota is None and not found.unlimited:
        return None
    return LimitKey(key=edit.id, target=mills(_limit(edit.quota or 0)), command_key=command_key, actor=who.id)
