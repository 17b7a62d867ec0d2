"""Buying quota: what it costs, an order for it, one's own orders; for administrators everybody's, and those that did not fit.

An order pins what it buys and costs. What arrives and does not fit its order is credited by nobody but a person.
"""

from time import time
from typing import Annotated

from fastapi import Path, Query, Request
from pydantic import Field

from api.admin import payment_shape
from api.admin.amounts import Amount, Body, Id, Reasoned
from api.admin.callers import AsAdmin, AsUser
from api.admin.changes import check, once
from api.admin.counted import Counted, begin
from api.admin.envelope import Envelope, Page
from api.admin.paging import FromOne, Number
from api.admin.payment_shape import PaymentShape
from api.admin.readable import Readable
from api.admin.refusals import Conflict, Invalid, Missing
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up, followed
from api.admin.users import target_of
from api.payments import epay
from api.payments.notices import inviter_of, payment_of
from api.payments.orders import Quote, new_trade, quote
from api.payments.provider import NotConfigured, Order, OrderRefused, Provider
from api.payments.rebates import rebate_mills
from domain import streams
from domain.books import Result
from domain.commands import InitiateTopUp, ResolveTopUp, ReverseTopUp
from projections import payments

routes = Routes("top-ups")

SUCCESS = "success"
"""The family's word in `message`, which its clients look for."""
TRIES = 3

ProviderName = Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,32}$")]
Trade = Annotated[str, Path(min_length=1, max_length=128)]


class Wish(Body):
    """How much shall be bought: whole units where the site shows money, else quota."""

    amount: Annotated[int, Field(ge=1, le=2**53)]
    payment_method: str = Field(default="", max_length=32, description="zfb (Alipay); everything else is WeChat Pay")


class CheckoutEnvelope(Envelope[dict[str, str]]):
    """The fields of a form, and the address that the browser posts them to."""

    url: str


class Resolution(Amount, Reasoned):
    """To whom a flagged payment is credited, and how much; without an amount what its order says."""

    user_id: Id


class Reversal(Amount, Reasoned):
    """How much of a credit is taken back; without an amount all that is left of it."""


@routes.post("/api/user/amount", summary="What an amount costs")
def read_price(site: Site, who: AsUser, wish: Wish) -> Envelope[str]:
    return Envelope(message=SUCCESS, data=epay.money_text(_quoted(site, who.user.group, wish).money_minor))


@routes.post("/api/user/pay", summary="Order an amount; the answer is the form that leads to the payment page")
def order_topup(site: Site, who: AsUser, wish: Wish, counted: Counted) -> CheckoutEnvelope:
    provider = provider_of(site)
    quoted = _quoted(site, who.user.group, wish)
    begin(counted.orders, "orders", f"order user {who.id}")
    order = _ordered(site, provider, who.id, quoted, wish)
    found = provider.checkout(order)
    return CheckoutEnvelope(message=SUCCESS, data=found.fields, url=found.url)


@routes.get("/api/user/topup", summary="One's own orders, the newest first")
def list_own_topups(site: Site, who: AsUser, at: FromOne) -> Envelope[Page[PaymentShape]]:
    as_of = caught_up(site)
    found = site.books.read.page_payments(page=at.page, size=at.size, user_id=who.id)
    items = [payment_shape.of_row(row) for row in found.items]
    return Envelope(data=Page(items=items, total=found.total, page=at.page, page_size=at.size), as_of=as_of)


@routes.get("/api/topup/", summary="Everybody's orders and what did not fit one, the newest first")
def list_topups(
    site: Site,
    _: AsAdmin,
    at: FromOne,
    user_id: Number | None = None,
    status: Annotated[str, Query(max_length=16, description="such as flagged: those that wait for a person")] = "",
) -> Envelope[Page[PaymentShape]]:
    as_of = caught_up(site)
    found = site.books.read.page_payments(page=at.page, size=at.size, user_id=user_id, status=status)
    items = [payment_shape.of_row(row) for row in found.items]
    return Envelope(data=Page(items=items, total=found.total, page=at.page, page_size=at.size), as_of=as_of)


@routes.post("/api/topup/{provider}/{trade:path}/resolve", summary="Credit a flagged payment to a user")
def resolve_topup(
    site: Site, who: AsAdmin, provider: ProviderName, trade: Trade, sent: Resolution
) -> Envelope[PaymentShape]:
    target_of(site, who, sent.user_id, "credit")
    payment = payment_of(site.books.store, provider, trade)
    amount = sent.amount_mills or (payment.order.amount if payment.order else None)
    if amount is None:
        raise Invalid("quota: expected how much to credit: no order says it")
    inviter = inviter_of(site.books.store, sent.user_id)
    command = ResolveTopUp(
        provider=provider,
        trade=trade,
        user=sent.user_id,
        inviter=inviter,
        rebate=rebate_mills(site.directory.settings, inviter, amount),
        amount=amount,
        reason=sent.reason,
        actor=who.id,
    )
    result = site.books.writer.submit_blocking(command)
    if result.status == "exists_with_different":
        raise Conflict("this payment was credited before: look at it, and reverse it first where that was wrong")
    check(result)
    return _settled(site, provider, trade)


@routes.post("/api/topup/{provider}/{trade:path}/reverse", summary="Take a credit back: its money was refunded")
def reverse_topup(
    site: Site, who: AsAdmin, request: Request, provider: ProviderName, trade: Trade, sent: Reversal
) -> Envelope[PaymentShape]:
    settled = payment_of(site.books.store, provider, trade).settled
    if settled is None:
        raise Missing(f"no payment {trade} of {provider} was credited")
    command = ReverseTopUp(
        provider=provider,
        trade=trade,
        user=settled.user,
        command_key=once(request, who.id, "topup"),
        amount=sent.amount_mills,
        reason=sent.reason,
        actor=who.id,
    )
    result = site.books.writer.submit_blocking(command)
    if result.status in ("insufficient", "invalid"):
        raise Conflict(f"{result.available:,} mills of this credit are left to take back")
    check(result)
    return _settled(site, provider, trade)


def provider_of(site: Services) -> Provider:
    """The provider that the site takes payments by. Raises Conflict where none is set up."""
    settings = site.directory.settings
    address = Readable(settings).text("ServerAddress") or f"http://localhost:{site.environment.port}"
    try:
        return epay.of_settings(settings, address)
    except NotConfigured as error:
        raise Conflict(str(error)) from None


def _quoted(site: Services, group: str, wish: Wish) -> Quote:
    try:
        return quote(site.directory.settings, group, wish.amount)
    except OrderRefused as error:
        raise Invalid(str(error)) from None


def _ordered(site: Services, provider: Provider, user_id: int, quoted: Quote, wish: Wish) -> Order:
    """An order that is in the ledger, under a number that no other one has."""
    method, result = provider.method(wish.payment_method), Result("conflict")
    for _ in range(TRIES):
        order = Order(new_trade(user_id, int(time())), f"TUC{wish.amount}", quoted.money_minor, method)
        command = InitiateTopUp(
            provider=provider.name,
            trade=order.trade,
            user=user_id,
            amount=quoted.amount_mills,
            money_minor=quoted.money_minor,
            currency=provider.currency,
            method=method,
        )
        result = site.books.writer.submit_blocking(command)
        if result.status == "created":
            return order
        if result.status not in ("exists", "exists_with_different"):
            break
    check(result)
    raise Conflict("no number was free for this order: try again")


def _settled(site: Services, provider: str, trade: str) -> Envelope[PaymentShape]:
    followed(site)
    facts = [recorded.fact for recorded in site.books.store.read_stream(streams.payment(provider, trade))]
    return Envelope(data=payment_shape.of_row(payments.of_facts(provider, trade, facts)))
