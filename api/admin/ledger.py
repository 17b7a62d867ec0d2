"""The ledger itself, for reading: statements, explanations, balances, the audit trail, and the proof that all of it adds up.

A user sees the own accounts and the own calls, and not even that others exist. Amounts are mills, as decimal texts.
"""

import re
from threading import Lock
from typing import Annotated, cast

import msgspec
from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, Field, JsonValue

from api.admin.amounts import Mills
from api.admin.callers import AsAdmin, AsRoot, AsUser, Caller
from api.admin.changes import folded
from api.admin.envelope import Envelope, Page
from api.admin.paging import FromOne, Number
from api.admin.refusals import Conflict, Invalid, Missing, invalid
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up
from domain import accounts, api_key, streams
from domain.accounts import Asset, asset_of, is_guarded
from domain.events import ChargeHeld
from domain.units import quota_floored
from ledger import explain as explaining
from ledger.explain import Explanation
from ledger.mapper import Recorded, encode
from ledger.verify import Report, verify
from projections.statements import StatementRow

routes = Routes("ledger")

ACCOUNT = re.compile(r"[a-z]+:[a-z0-9_:-]{1,80}")
OWNED = re.compile(r"(user|key):([1-9][0-9]{0,17}):[a-z_]+")
MAX_ROWS = 1_000
DEFAULT_ROWS = 100
FOR_ADMINISTRATORS = frozenset({"node", "epoch", "attempts", "upstream_request_id"})

Account = Annotated[str, Query(max_length=100, description="such as user:42:available; empty: one's own balance")]


class Movement(BaseModel):
    """One posting to an account, and the balance that it left."""

    position: int
    at_ms: int
    delta_mills: Mills
    balance_mills: Mills
    topic: str = Field(description="what happened, such as charge.settled/1")
    stream: str = Field(description="of a charge: its request id")
    version: int
    note: str


class Statement(BaseModel):
    """Movements of one account, oldest first; `next_after` is where the next page begins, null at the end."""

    account: str
    items: list[Movement]
    next_after: int | None


class BalanceShape(BaseModel):
    """An account as it stands."""

    account: str
    asset: str
    balance_mills: Mills
    floor_mills: str | None = Field(description="it may not be spent below this; null: no floor")
    quota: int | None = Field(description="the balance in whole quota, rounded down; null for what is no quota")


class FactShape(BaseModel):
    """One fact of a call, as it is stored."""

    position: int
    at_ms: int
    topic: str
    version: int
    fact: dict[str, JsonValue]


class ExplanationShape(BaseModel):
    """Why a call cost what it cost, in lines that can be computed again by hand."""

    request_id: str
    user_id: int
    state: str = Field(description="open, settled, released, expired or settled_late")
    lines: list[str]
    cost_mills: Mills
    paid_mills: Mills
    written_off_mills: Mills
    facts: list[FactShape]


class DifferenceShape(BaseModel):
    """Something that does not add up."""

    where: str
    what: str
    expected: str | None
    found: str | None


class ReportShape(BaseModel):
    """What was checked, and what differs: nothing, in a sound ledger."""

    is_sound: bool
    facts: int
    head: int
    accounts: int
    open_holds: int
    totals_mills: dict[str, str] = Field(description="platform accounts: what was earned, given, written off")
    differences: list[DifferenceShape]


class AuditShape(BaseModel):
    """One change that a person made."""

    position: int
    at_ms: int
    topic: str
    actor: int = Field(description="a user's id; 0: the gateway itself")
    subject: str = Field(description="such as user:42")
    detail: dict[str, JsonValue]


@routes.get("/api/ledger/statement", summary="Movements of an account, with the running balance")
def read_statement(
    site: Site,
    who: AsUser,
    account: Account = "",
    after: Annotated[int, Query(ge=0, le=2**53, description="a position: rows after it")] = 0,
    limit: Annotated[int, Query(ge=0, le=2**31)] = DEFAULT_ROWS,
) -> Envelope[Statement]:
    name = visible(site, who, account or accounts.available(who.id))
    size = min(limit or DEFAULT_ROWS, MAX_ROWS)
    as_of = caught_up(site)
    rows = site.books.read.statement(name, after_position=after, limit=size)
    following = rows[-1].position if len(rows) == size else None
    return Envelope(
        data=Statement(account=name, items=[_movement(row) for row in rows], next_after=following), as_of=as_of
    )


@routes.get("/api/ledger/balance/{account}", summary="What is on an account now")
def read_balance(site: Site, who: AsUser, account: Annotated[str, Path(max_length=100)]) -> Envelope[BalanceShape]:
    name = visible(site, who, account)
    if not is_guarded(name):
        raise Missing(f"{name} keeps no running balance: see its statement, or GET /api/ledger/verify")
    guard = site.books.store.balance(name)
    balance, floor = guard if guard is not None else (0, 0)
    is_quota = asset_of(name) is not Asset.SEQ
    shown = BalanceShape(
        account=name,
        asset=asset_of(name),
        balance_mills=str(balance),
        floor_mills=None if floor is None else str(floor),
        quota=quota_floored(balance) if is_quota else None,
    )
    return Envelope(data=shown)


@routes.get("/api/ledger/explain/{request_id}", summary="Why a call cost what it cost")
def explain_call(
    site: Site, who: AsUser, request_id: Annotated[str, Path(max_length=64)]
) -> Envelope[ExplanationShape]:
    try:
        charge = explaining.stream_of(request_id)
    except ValueError as error:
        raise Invalid(f"request_id: {error}") from None
    found = explaining.explain(site.books.store, charge)
    held = found.facts[0].fact if found else None
    if found is None or not isinstance(held, ChargeHeld) or not (who.is_admin or held.user == who.id):
        raise Missing(f"no call of yours has the request id {charge}: it is in the x-request-id header of its answer")
    return Envelope(data=_explanation(found, held.user, for_admin=who.is_admin))


async def one_at_a_time(request: Request) -> Lock:
    """The lock that keeps a second verification out."""
    state = request.app.state
    if not hasattr(state, "verifying"):
        state.verifying = Lock()
    lock: Lock = state.verifying
    return lock


@routes.get(
    "/api/ledger/verify", summary="Recompute every balance from the stored facts; one at a time, and it takes a while"
)
def verify_ledger(site: Site, _: AsRoot, lock: Annotated[Lock, Depends(one_at_a_time)]) -> Envelope[ReportShape]:
    if not lock.acquire(blocking=False):
        raise Conflict("a verification is running already: wait for its answer")
    try:
        return Envelope(data=_report(verify(site.books.store)))
    finally:
        lock.release()


@routes.get("/api/ledger/audit", summary="Who changed what, the newest first")
def list_audit(
    site: Site,
    _: AsAdmin,
    at: FromOne,
    actor: Number | None = None,
    topic: Annotated[str, Query(max_length=64, description="how topics begin, such as user.")] = "",
) -> Envelope[Page[AuditShape]]:
    as_of = caught_up(site)
    found = site.books.read.page_audit(page=at.page, size=at.size, actor=actor, topic_prefix=topic)
    items = [
        AuditShape(
            position=row.position,
            at_ms=row.at_ms,
            topic=row.topic,
            actor=row.actor,
            subject=row.subject,
            detail=_object(row.detail),
        )
        for row in found.items
    ]
    return Envelope(data=Page(items=items, total=found.total, page=at.page, page_size=at.size), as_of=as_of)


def visible(site: Services, who: Caller, account: str) -> str:
    """An account that the caller may look at. Raises Invalid for a name that none has, Missing for others' accounts."""
    if not ACCOUNT.fullmatch(account):
        raise invalid("account", "a name such as user:42:available or key:7:cap", account)
    if who.is_admin:
        return account
    found = OWNED.fullmatch(account)
    if found is None or _owner(site, found[1], int(found[2])) != who.id:
        raise Missing(f"you have no account {account}")
    return account


def _owner(site: Services, kind: str, number: int) -> int:
    if kind == "user":
        return number
    key, _ = folded(site.books.store.read_stream(streams.key(number)), api_key.from_facts)
    return 0 if key is None else key.user


def _movement(row: StatementRow) -> Movement:
    return Movement(
        position=row.position,
        at_ms=row.at_ms,
        delta_mills=str(row.delta_mills),
        balance_mills=str(row.balance_mills),
        topic=row.topic,
        stream=row.stream,
        version=row.version,
        note=row.note,
    )


def _explanation(found: Explanation, user_id: int, *, for_admin: bool) -> ExplanationShape:
    return ExplanationShape(
        request_id=found.charge,
        user_id=user_id,
        state=found.state,
        lines=found.lines,
        cost_mills=str(found.cost_mills),
        paid_mills=str(found.paid_mills),
        written_off_mills=str(found.written_off_mills),
        facts=[_fact(recorded, for_admin=for_admin) for recorded in found.facts],
    )


def _fact(recorded: Recorded, *, for_admin: bool) -> FactShape:
    said = _object(encode(recorded.fact))
    kept = {name: value for name, value in said.items() if for_admin or name not in FOR_ADMINISTRATORS}
    return FactShape(
        position=recorded.position,
        at_ms=recorded.fact.at,
        topic=recorded.fact.TOPIC,
        version=recorded.version,
        fact=kept,
    )


def _object(text: bytes | str) -> dict[str, JsonValue]:
    """A JSON object of our own making."""
    return cast("dict[str, JsonValue]", msgspec.json.decode(text))


def _report(report: Report) -> ReportShape:
    return ReportShape(
        is_sound=report.is_sound,
        facts=report.facts,
        head=report.head,
        accounts=report.accounts,
        open_holds=report.open_holds,
        totals_mills={account: str(mills) for account, mills in report.totals.items()},
        differences=[
            DifferenceShape(
                where=one.where,
                what=one.what,
                expected=None if one.expected is None else str(one.expected),
                found=None if one.found is None else str(one.found),
            )
            for one in report.differences
        ],
    )
