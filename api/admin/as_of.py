"""An account as it was, and why: its balance at a position or a moment, what moved it, and the check that three ways agree on it.

A position is exact and answers the same for ever. A moment means the last position that was recorded by then.
"""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from api.admin.amounts import Mills
from api.admin.callers import AsAdmin, AsUser
from api.admin.envelope import Envelope
from api.admin.ledger import visible
from api.admin.refusals import Invalid
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up
from domain.accounts import is_guarded
from projections.as_of import MAX_GROUPS, Group
from projections.checking import Disagreement, check

routes = Routes("ledger")

AccountPath = Annotated[str, Path(max_length=100, description="such as user:42:available")]
Position = Annotated[int | None, Query(ge=0, le=2**53, description="facts up to this position count")]
Moment = Annotated[int | None, Query(ge=0, le=2**53, description="ms since the epoch: facts recorded by then count")]


class StandingShape(BaseModel):
    """A balance as it was."""

    account: str
    position: int = Field(description="facts up to this position count")
    last_position: int = Field(description="of the last movement among them; 0: there was none")
    last_at_ms: int
    balance_mills: Mills


class GroupShape(BaseModel):
    """What one kind of fact moved."""

    topic: str
    note: str = Field(description="the model of charges, the reason of corrections")
    count: int
    delta_mills: Mills


class AccountStory(BaseModel):
    """Why an account holds what it holds: what it began with, and everything that moved it since, by kind."""

    account: str
    opening: StandingShape
    groups: list[GroupShape]
    closing: StandingShape
    is_complete: bool = Field(description="false: there were more kinds of movements than are shown")


class DisagreementShape(BaseModel):
    """One number found in three ways that are not the same, at one position."""

    position: int
    summed_mills: str | None = Field(description="the sum of all postings; null: there are too many to sum now")
    running_mills: Mills = Field(description="the running balance of the statement")
    kept_mills: Mills = Field(description="the balance that the ledger keeps, and spends from")


class CheckShape(BaseModel):
    """Whether three ways to one balance agree."""

    account: str
    agrees: bool
    checked: bool = Field(description="false: the read model is too far behind to tell now")
    disagreement: DisagreementShape | None


@routes.get("/api/ledger/accounts/{account}/as-of", summary="What was on an account at a position or a moment")
def read_as_of(
    site: Site, who: AsUser, account: AccountPath, position: Position = None, at_ms: Moment = None
) -> Envelope[StandingShape]:
    name = visible(site, who, account)
    as_of = caught_up(site)
    return Envelope(data=_standing(site, name, _upto(site, position, at_ms)), as_of=as_of)


@routes.get("/api/ledger/accounts/{account}/explain", summary="Why an account holds what it holds")
def explain_account(
    site: Site,
    who: AsUser,
    account: AccountPath,
    position: Position = None,
    at_ms: Moment = None,
    after: Annotated[int, Query(ge=0, le=2**53, description="begin with the balance at this position")] = 0,
) -> Envelope[AccountStory]:
    name = visible(site, who, account)
    as_of = caught_up(site)
    upto = _upto(site, position, at_ms)
    if after > upto:
        raise Invalid(f"after: {after} lies behind {upto}, where the story ends")
    opening, closing = _standing(site, name, after), _standing(site, name, upto)
    # Up to where the closing balance is known: the read model may move on meanwhile.
    found = site.books.read.groups(name, after, closing.position)
    story = AccountStory(
        account=name,
        opening=opening,
        groups=[_group(one) for one in found],
        closing=closing,
        is_complete=len(found) < MAX_GROUPS,
    )
    return Envelope(data=story, as_of=as_of)


@routes.get("/api/ledger/accounts/{account}/check", summary="Whether three ways to an account's balance agree")
def check_account(site: Site, who: AsAdmin, account: AccountPath) -> Envelope[CheckShape]:
    name = visible(site, who, account)
    if not is_guarded(name):
        raise Invalid(f"account: {name} keeps no balance that could be compared")
    found = check(site.books.store, site.books.read, [name])
    disagreement = _disagreement(found[0]) if found else None
    return Envelope(
        data=CheckShape(account=name, agrees=found == [], checked=found is not None, disagreement=disagreement)
    )


def _upto(site: Services, position: int | None, at_ms: int | None) -> int:
    if position is not None and at_ms is not None:
        raise Invalid("position, at_ms: name one of them")
    if at_ms is not None:
        return site.books.read.position_at(at_ms)
    return site.books.store.head() if position is None else position


def _standing(site: Services, account: str, upto: int) -> StandingShape:
    found = site.books.read.standing(account, upto)
    return StandingShape(
        account=account,
        position=found.upto,
        last_position=found.position,
        last_at_ms=found.at_ms,
        balance_mills=str(found.balance_mills),
    )


def _disagreement(one: Disagreement) -> DisagreementShape:
    return DisagreementShape(
        position=one.position,
        summed_mills=None if one.summed is None else str(one.summed),
        running_mills=str(one.running),
        kept_mills=str(one.kept),
    )


def _group(one: Group) -> GroupShape:
    return GroupShape(topic=one.topic, note=one.note, count=one.count, delta_mills=str(one.delta_mills))
