"""Redemption codes, for administrators: issued with a budget, changed, disabled, deleted. Their users redeem them elsewhere.

Lists show whole texts, as the family's do: its console copies codes from the list, and whoever sees it may issue codes anyway.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Annotated

import msgspec
from fastapi import Path, Query, Request
from pydantic import Field

from api.admin import code_shape
from api.admin.amounts import Body, Id
from api.admin.callers import AsAdmin, Caller
from api.admin.changes import carry_out, check, once
from api.admin.code_shape import RedemptionShape
from api.admin.envelope import AsOf, Envelope, Page
from api.admin.paging import Flag, FromOne, Words, is_on
from api.admin.refusals import Invalid, Missing, Unavailable, invalid
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up, followed
from api.payments.code_texts import code_with_id, digest, new_text
from domain import gift_code
from domain.accounts import MAX_ACCOUNT_QUOTA
from domain.commands import Append, ChangeCode, Command, DeleteCode, Register
from domain.events import CodeTerms
from domain.gift_code import DISABLED, ENABLED, GiftCode
from domain.units import mills

routes = Routes("codes")

MAX_CODES = 100
MAX_IDS = 1_000
BATCH = 200
"""Codes of one name that are changed in one go."""

CodeId = Annotated[int, Path(ge=1, le=2**53)]
Seconds = Annotated[int, Field(ge=0, le=2**53)]
Name = Annotated[str, Query(max_length=128)]


class NewCodes(Body):
    """Codes to be issued: `count` of them with texts that are drawn, or one with the text `key`."""

    name: str
    quota: Annotated[int, Field(ge=1, le=MAX_ACCOUNT_QUOTA)]
    count: int = 1
    key: str = ""
    is_gift: bool = False
    max_uses: Annotated[int, Field(ge=-1, le=2**53)] = code_shape.UNLIMITED
    valid_from: Seconds = 0
    valid_until: Seconds = 0


class CodeEdit(Body):
    """What shall be different; fields that are left out stay. With `status_only` in the query only `status` counts."""

    id: Id
    status: int | None = None
    name: str | None = None
    quota: Annotated[int, Field(ge=1, le=MAX_ACCOUNT_QUOTA)] | None = None
    valid_from: Seconds | None = None
    valid_until: Seconds | None = None


class Codes(Body):
    """Several codes, by their ids."""

    ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_IDS)]


@routes.get("/api/redemption/", summary="Codes that were not deleted, the newest first")
def list_codes(site: Site, _: AsAdmin, at: FromOne) -> Envelope[Page[RedemptionShape]]:
    return _page(site, at.page, at.size, "")


@routes.get("/api/redemption/search", summary="Codes by how their name begins, or by id")
def search_codes(site: Site, _: AsAdmin, at: FromOne, keyword: Words = "") -> Envelope[Page[RedemptionShape]]:
    return _page(site, at.page, at.size, keyword)


@routes.get("/api/redemption/count-by-name", summary="How many codes have this name")
def count_codes(site: Site, _: AsAdmin, name: Name = "") -> Envelope[int]:
    as_of = caught_up(site)
    return Envelope(data=site.books.read.count_codes(_named(name)), as_of=as_of)


@routes.delete("/api/redemption/delete-by-name", summary="Delete all codes of this name; how many there were")
def delete_codes_by_name(site: Site, who: AsAdmin, name: Name = "") -> Envelope[int]:
    ids = _ids(site, name=_named(name))
    return Envelope(data=_all_done(site, ids, lambda code_id: _deletion(site, who, code_id)))


@routes.put("/api/redemption/batch-disable", summary="Disable these codes; how many were not disabled before")
def disable_codes(site: Site, who: AsAdmin, codes: Codes) -> Envelope[int]:
    ids = iter(dict.fromkeys(codes.ids))
    return Envelope(data=_all_done(site, ids, lambda code_id: _switched(site, who, code_id, DISABLED)))


@routes.delete("/api/redemption/delete-disabled", summary="Delete all codes that are disabled; how many there were")
def delete_disabled_codes(site: Site, who: AsAdmin) -> Envelope[int]:
    ids = _ids(site, status=DISABLED)
    return Envelope(data=_all_done(site, ids, lambda code_id: _deletion(site, who, code_id)))


@routes.get("/api/redemption/{code_id:int}", summary="One code")
def read_code(site: Site, _: AsAdmin, code_id: CodeId) -> Envelope[RedemptionShape]:
    data, as_of = _shown(site, code_id)
    return Envelope(data=data, as_of=as_of)


@routes.post("/api/redemption/", summary="Issue codes; the answer has their texts")
def create_codes(site: Site, who: AsAdmin, request: Request, new: NewCodes) -> Envelope[list[str]]:
    if not 1 <= new.count <= MAX_CODES:
        raise invalid("count", f"1 to {MAX_CODES}", new.count)
    if new.key and new.count != 1:
        raise Invalid("count: expected 1 where key says the text: a text opens one code")
    terms = CodeTerms(
        name=code_shape.check_name(new.name),
        amount=mills(new.quota),
        valid_from=new.valid_from,
        valid_until=new.valid_until,
    )
    bound = code_shape.bound_of(new.max_uses, is_gift=new.is_gift)
    token = once(request, who.id) if "idempotency-key" in request.headers else ""
    texts = [code_shape.check_text(new.key)] if new.key else [new_text() for _ in range(new.count)]

    def issue(number: int, text: str) -> Register:
        return gift_code.issue(
            digest=digest(site.books.vault, text),
            secret=site.books.vault.put(text),
            terms=terms,
            gift=new.is_gift,
            max_uses=bound,
            actor=who.id,
            token=f"{token}:{number}" if token else "",
        )

    results = site.books.writer.submit_all_blocking([issue(number, text) for number, text in enumerate(texts)])
    for result in results:
        check(result)
    return Envelope(data=[site.books.vault.text(_living(site, result.id)[0].secret) for result in results])


@routes.put("/api/redemption/", summary="Change a code's terms; with status_only whether it is enabled")
def update_code(site: Site, who: AsAdmin, edit: CodeEdit, status_only: Flag = "") -> Envelope[RedemptionShape]:
    if is_on(status_only):
        if edit.status not in (ENABLED, DISABLED):
            raise invalid("status", "1 (enabled) or 2 (disabled)", edit.status)
        status = edit.status
        carry_out(site, lambda: _switched(site, who, edit.id, status))
    else:
        carry_out(site, lambda: _new_terms(site, who, edit))
    data, as_of = _shown(site, edit.id)
    return Envelope(data=data, as_of=as_of)


@routes.delete("/api/redemption/{code_id:int}", summary="Delete a code: it opens nothing, what is left goes back")
def delete_code(site: Site, who: AsAdmin, code_id: CodeId) -> Envelope[None]:
    carry_out(site, lambda: _deletion(site, who, code_id))
    return Envelope(data=None)


def _page(site: Services, page: int, size: int, keyword: str) -> Envelope[Page[RedemptionShape]]:
    as_of = caught_up(site)
    found = site.books.read.page_codes(page=page, size=size, keyword=keyword)
    items = [code_shape.of_row(site, row) for row in found.items]
    return Envelope(data=Page(items=items, total=found.total, page=page, page_size=size), as_of=as_of)


def _shown(site: Services, code_id: int) -> tuple[RedemptionShape, AsOf | None]:
    """A code from the read model, once it has caught up. Raises Missing, or Unavailable while it lags."""
    _living(site, code_id)
    as_of = caught_up(site)
    row = site.books.read.code(code_id)
    if row is None and as_of is not None:
        raise Unavailable("the lists are being built: try again in a moment")
    if row is None:
        raise Missing(_no_code(code_id))
    return code_shape.of_row(site, row), as_of


def _living(site: Services, code_id: int) -> tuple[GiftCode, int]:
    """A code that was not deleted, and the version of its stream. Raises Missing."""
    code, version = code_with_id(site.books.store, code_id)
    if code is None or code.deleted:
        raise Missing(_no_code(code_id))
    return code, version


def _no_code(code_id: int) -> str:
    return f"there is no code {code_id}"


def _named(name: str) -> str:
    if not name:
        raise Invalid("name: expected the name of the codes, got nothing")
    return name


def _switched(site: Services, who: Caller, code_id: int, status: int) -> Append | None:
    code, version = _living(site, code_id)
    return None if code.status == status else gift_code.status_change(code_id, version, status, actor=who.id)


def _new_terms(site: Services, who: Caller, edit: CodeEdit) -> ChangeCode | None:
    code, version = _living(site, edit.id)
    terms = msgspec.structs.replace(
        code.terms,
        name=code.terms.name if edit.name in (None, code.terms.name) else code_shape.check_name(edit.name or ""),
        amount=_amount(code, edit.quota),
        valid_from=code.terms.valid_from if edit.valid_from is None else edit.valid_from,
        valid_until=code.terms.valid_until if edit.valid_until is None else edit.valid_until,
    )
    return None if terms == code.terms else ChangeCode(code=edit.id, terms=terms, expected=version, actor=who.id)


def _amount(code: GiftCode, quota: int | None) -> int:
    """Mills a use gives from now on; what is written back as it was shown, rounded down, changes nothing."""
    if quota is None or quota == code.terms.amount // mills(1):
        return code.terms.amount
    return mills(quota)


def _deletion(site: Services, who: Caller, code_id: int) -> DeleteCode:
    code, _ = _living(site, code_id)
    return DeleteCode(code=code_id, actor=who.id, vault_delete=(code.secret,))


def _ids(site: Services, *, name: str = "", status: int = 0) -> Iterator[int]:
    """Codes of a name or a status, page by page, each once: the list may lag behind what is changed meanwhile."""
    caught_up(site)
    last = 0
    while found := site.books.read.code_ids(name=name, status=status, after=last, limit=BATCH):
        yield from found
        last = found[-1]


def _all_done(site: Services, ids: Iterator[int], make: Callable[[int], Command | None]) -> int:
    """Change codes in batches; how many were changed. One that somebody else deletes meanwhile is done."""
    changed = 0
    while batch := list(islice(ids, BATCH)):
        wanted = [(code_id, command) for code_id in batch if (command := _made(make, code_id)) is not None]
        results = site.books.writer.submit_all_blocking([command for _, command in wanted])
        for (code_id, _), result in zip(wanted, results, strict=True):
            # Somebody was faster: read it again, and decide again.
            again = partial(_made, make, code_id)
            changed += (carry_out(site, again) if result.status == "conflict" else result).status == "created"
    followed(site)
    return changed


def _made(make: Callable[[int], Command | None], code_id: int) -> Command | None:
    try:
        return make(code_id)
    except Missing:
        return None
