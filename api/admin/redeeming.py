"""Redeeming a code: the ledger finds it by the HMAC of its text and decides, so nothing that lags behind is asked.

A text that never was a code and one whose code was deleted get the same words after the same work. Every attempt that does
not credit anything counts: a code that somebody has used up must not give them new guesses.
"""

from fastapi import Request
from pydantic import BaseModel, Field

from api.admin.amounts import Body, Mills
from api.admin.callers import AsUser
from api.admin.changes import check
from api.admin.counted import Counted, address_of, begin
from api.admin.envelope import Envelope
from api.admin.refusals import Conflict, Missing
from api.admin.routing import Routes
from api.admin.services import Services, Site
from api.payments.code_texts import code_with_id, code_with_text
from api.payments.rebates import rebate_mills
from domain.books import Result
from domain.commands import RedeemCode
from domain.events import CodeRedeemed
from domain.units import quota_floored
from domain.user import User

routes = Routes("codes")

NOT_THERE = "there is no such code: look at its spelling"
REFUSED = {
    "disabled": "this code is disabled",
    "not_yet": "this code is not valid yet",
    "over": "this code is not valid any more",
    "insufficient": "this code is used up",
}


class Redemption(Body):
    """The text of a code."""

    key: str = Field(min_length=1, max_length=128)


class RedeemedShape(BaseModel):
    """What a code gave."""

    quota: int = Field(description="rounded down to whole quota")
    quota_mills: Mills
    is_gift: bool = Field(description="whether others may use the code as well")


@routes.post("/api/user/topup", summary="Redeem a code")
def redeem(site: Site, who: AsUser, request: Request, sent: Redemption, counted: Counted) -> Envelope[RedeemedShape]:
    address, name = f"code address {address_of(request)}", f"code user {who.id}"
    begin(counted.codes, "wrong codes", address, name)
    result, is_gift = redeemed(site, who.user, sent.key)
    if result.status == "not_found":
        raise Missing(NOT_THERE)
    if result.status == "exists":
        raise Conflict("you have used this code before: what it gives was credited then")
    if result.status in REFUSED:
        raise Conflict(REFUSED[result.status])
    check(result)
    counted.codes.succeeded(address, name)
    assert isinstance(result.fact, CodeRedeemed), "a code that was redeemed says so"
    amount = result.fact.amount
    return Envelope(data=RedeemedShape(quota=quota_floored(amount), quota_mills=str(amount), is_gift=is_gift))


def redeemed(site: Services, user: User, text: str) -> tuple[Result, bool]:
    """What the ledger answers to a user who redeems a text, and whether it is a gift code."""
    code_id = code_with_text(site.books, text)
    code, _ = code_with_id(site.books.store, code_id)
    amount = code.terms.amount if code else 0
    command = RedeemCode(
        code=code_id,
        user=user.id,
        inviter=user.inviter,
        rebate=rebate_mills(site.directory.settings, user.inviter, amount),
    )
    return site.books.writer.submit_blocking(command), code is not None and code.gift
