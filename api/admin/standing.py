"""How low a user's balance may go, for administrators: a credit limit, or a freeze that lets nothing new be spent.

What is to hold is sent, not a difference, so that sending it again changes nothing. Each fact says who did it and why.
"""

from typing import Annotated

from pydantic import Field

from api.admin.amounts import Amount, Reasoned
from api.admin.callers import AsAdmin, Caller
from api.admin.changes import carry_out
from api.admin.envelope import Envelope
from api.admin.people import UserShape, shown
from api.admin.refusals import Invalid
from api.admin.routing import Routes
from api.admin.services import Services, Site
from api.admin.users import UserId, target_of
from domain.accounts import MAX_ACCOUNT_QUOTA
from domain.commands import Freeze, OnStanding, SetCreditLimit, Unfreeze

routes = Routes("users")


class CreditLimit(Amount, Reasoned):
    """How far below nothing a user may spend; 0: prepaid."""

    quota: Annotated[int, Field(ge=0, le=MAX_ACCOUNT_QUOTA)] | None = None


@routes.post("/api/user/{user_id:int}/credit_limit", summary="Let a user spend so far below nothing")
def set_credit_limit(site: Site, who: AsAdmin, user_id: UserId, sent: CreditLimit) -> Envelope[UserShape]:
    limit = sent.amount_mills
    if limit is None:
        raise Invalid("quota: expected how far below nothing the user may spend, 0 for prepaid; got nothing")
    return _carried_out(
        site, who, SetCreditLimit(user=user_id, limit=limit, reason=sent.reason, actor=who.id), "give credit to"
    )


@routes.post("/api/user/{user_id:int}/freeze", summary="Let nothing new be spent; what is open settles, credits arrive")
def freeze_user(site: Site, who: AsAdmin, user_id: UserId, sent: Reasoned) -> Envelope[UserShape]:
    return _carried_out(site, who, Freeze(user=user_id, reason=sent.reason, actor=who.id), "freeze")


@routes.post("/api/user/{user_id:int}/unfreeze", summary="Let a frozen user spend again")
def unfreeze_user(site: Site, who: AsAdmin, user_id: UserId, sent: Reasoned) -> Envelope[UserShape]:
    return _carried_out(site, who, Unfreeze(user=user_id, reason=sent.reason, actor=who.id), "unfreeze")


def _carried_out(site: Services, who: Caller, command: OnStanding, doing: str) -> Envelope[UserShape]:
    target_of(site, who, command.user, doing)
    carry_out(site, lambda: command)
    data, as_of = shown(site, command.user)
    return Envelope(data=data, as_of=as_of)
