"""A payment as the API shows one: what was ordered, what came, what was credited, and why a person has to look at it.

Money is decimal text and a whole number of the currency's smallest unit; neither was ever a float.
"""

from pydantic import BaseModel, Field

from api.admin.amounts import Mills
from api.payments.epay import money_text
from domain.units import quota_floored
from projections.payments import PaymentRow


class PaymentShape(BaseModel):
    """One payment, named by its provider and the number of the order."""

    provider: str
    trade_no: str
    user_id: int = Field(description="0: no order of ours has this number")
    status: str = Field(description="pending, success, failed, flagged or reversed")
    quota: int = Field(description="what it buys, rounded down to whole quota; of a payment without an order 0")
    quota_mills: Mills
    credited_mills: Mills
    reversed_mills: Mills
    money: str = Field(description="what was ordered, such as 12.34")
    money_minor: int
    currency: str
    method: str
    created_time: int = Field(description="seconds since the epoch of the order; 0: there was none")
    settled_time: int = Field(description="seconds since the epoch of the credit; 0: none yet")
    flagged: str = Field(description="why it did not fit: unknown_order, amount, currency, user_deleted; empty: it did")
    flagged_money: str = Field(description="what came instead")
    flagged_currency: str
    resolved_by: int = Field(description="who credited a flagged payment; 0: nobody had to")


def of_row(row: PaymentRow) -> PaymentShape:
    return PaymentShape(
        provider=row.provider,
        trade_no=row.trade,
        user_id=row.user_id,
        status=row.status,
        quota=quota_floored(row.amount_mills),
        quota_mills=str(row.amount_mills),
        credited_mills=str(row.credited_mills),
        reversed_mills=str(row.reversed_mills),
        money=money_text(row.money_minor),
        money_minor=row.money_minor,
        currency=row.currency,
        method=row.method,
        created_time=row.ordered_at // 1000,
        settled_time=row.settled_at // 1000,
        flagged=row.flagged_why,
        flagged_money=money_text(row.flagged_minor) if row.flagged_why else "",
        flagged_currency=row.flagged_currency,
        resolved_by=row.resolved_by,
    )
