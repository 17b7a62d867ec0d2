"""Giving back what a call cost, for administrators. Each refund has a key and happens once; together they never pass what was paid."""

from typing import Annotated

from fastapi import Path, Request
from pydantic import BaseModel, Field

from api.admin.amounts import Amount, Mills, Reasoned
from api.admin.callers import AsAdmin
from api.admin.changes import MAX_IDEMPOTENCY_KEY_LENGTH, check, once
from api.admin.envelope import Envelope
from api.admin.refusals import Conflict, Invalid, Missing
from api.admin.routing import Routes
from api.admin.services import Site
from api.admin.users import target_of
from domain import charges
from domain.commands import Refund
from ledger.explain import stream_of

routes = Routes("ledger")


class Refunding(Amount, Reasoned):
    """How much is given back; without an amount all that is left of what was paid. `key` names the refund, as the header does."""

    key: Annotated[str, Field(max_length=MAX_IDEMPOTENCY_KEY_LENGTH, pattern=r"^[ -~]*$")] = ""


class RefundShape(BaseModel):
    """What was given back by this refund, and by all of the call's."""

    request_id: str
    user_id: int
    refunded_mills: Mills
    refunded_total_mills: Mills
    left_mills: Mills = Field(description="of what was paid, and can still be given back")


@routes.post("/api/ledger/charges/{request_id}/refund", summary="Give back what a call cost, or a part of it")
def refund_charge(
    site: Site, who: AsAdmin, request: Request, request_id: Annotated[str, Path(max_length=64)], sent: Refunding
) -> Envelope[RefundShape]:
    try:
        charge = stream_of(request_id)
    except ValueError as error:
        raise Invalid(f"request_id: {error}") from None
    bill = charges.bill_of([recorded.fact for recorded in site.books.store.read_stream(charge)])
    if bill is None:
        raise Missing(f"no call that was paid has the request id {charge}")
    target_of(site, who, bill.user, "refund a call of")
    command = Refund(
        charge=charge,
        user=bill.user,
        key=bill.key,
        capped=bill.capped,
        command_key=f"api:{who.id}:{sent.key}" if sent.key else once(request, who.id),
        amount=sent.amount_mills,
        reason=sent.reason,
        actor=who.id,
    )
    result = site.books.writer.submit_blocking(command)
    if result.status == "insufficient":
        raise Conflict(f"{result.available:,} mills of what this call cost are left to give back")
    check(result)
    return Envelope(
        data=RefundShape(
            request_id=charge,
            user_id=bill.user,
            refunded_mills=str(result.needed),
            refunded_total_mills=str(bill.paid - result.available),
            left_mills=str(result.available),
        )
    )
