"""How the ledger hears of a payment. Whoever gets `True` here may tell the provider that its notice arrived: it is committed.

A notice may come ten times, to ten processes, and any of them may die: the payment's stream says whether it was credited.
"""

import logging
from fractions import Fraction
from typing import Protocol

from api.payments.provider import Notice
from api.payments.rebates import rebate_mills
from domain import streams, topup, user
from domain.books import Result
from domain.commands import Command, FailTopUp, ReverseTopUp, SettleTopUp
from domain.settings import Settings
from domain.topup import Payment
from domain.units import round_half_up
from ledger.store import LedgerStore
from ledger.writer import Writer

log = logging.getLogger("veloera.payments")

TRIES = 3
HEARD = frozenset({"created", "exists", "flagged", "already_settled"})
"""What became of a command that the ledger keeps, or kept before."""


class OpenBooks(Protocol):
    """A ledger that is open for reading and writing."""

    @property
    def store(self) -> LedgerStore: ...

    @property
    def writer(self) -> Writer: ...


def heard(books: OpenBooks, settings: Settings, provider: str, notice: Notice) -> bool:
    """Commit what a genuine notice says; False when the ledger refused it, which a person has to look at.

    Raises LedgerUnavailable: it is not known whether it was committed, so the provider has to come again.
    """
    result = Result("stale")
    for _ in range(TRIES):
        result = books.writer.submit_blocking(_command(books, settings, provider, notice))
        if result.status != "stale":
            break
    told = {"provider": provider, "trade": notice.trade, "kind": notice.kind, "why": result.why or result.status}
    if result.status == "flagged":
        log.warning("payment_flagged", extra=told)
    elif result.status not in HEARD:
        log.error("payment_refused", extra=told)
    return result.status in HEARD


def payment_of(store: LedgerStore, provider: str, trade: str) -> Payment:
    """A payment as it stands; empty where no fact names it."""
    return topup.from_facts([recorded.fact for recorded in store.read_stream(streams.payment(provider, trade))])


def inviter_of(store: LedgerStore, user_id: int) -> int:
    """Who invited a user; 0: nobody."""
    found = user.from_facts(recorded.fact for recorded in store.read_stream(streams.user(user_id)))
    return 0 if found is None else found.inviter


def _command(books: OpenBooks, settings: Settings, provider: str, notice: Notice) -> Command:
    """What the ledger is asked: read anew for every try, for an order may be placed meanwhile."""
    payment = payment_of(books.store, provider, notice.trade)
    owner = payment.order.user if payment.order else 0
    match notice.kind:
        case "failed":
            return FailTopUp(provider=provider, trade=notice.trade, user=owner, why="given up")
        case "refunded":
            return ReverseTopUp(
                provider=provider,
                trade=notice.trade,
                user=payment.settled.user if payment.settled else owner,
                command_key=f"notice:{notice.provider_event}",
                amount=_share(payment, notice.money_minor),
                reason="refunded by the provider",
            )
        case "paid":
            inviter = inviter_of(books.store, owner) if owner else 0
            return SettleTopUp(
                provider=provider,
                trade=notice.trade,
                user=owner,
                inviter=inviter,
                rebate=rebate_mills(settings, inviter, payment.order.amount if payment.order else 0),
                money_minor=notice.money_minor,
                currency=notice.currency,
                provider_event=notice.provider_event,
            )


def _share(payment: Payment, money_minor: int) -> int | None:
    """Mills of a credit that a part of its money bought; None: all that is left of it."""
    paid = payment.settled
    if paid is None or money_minor >= paid.money_minor:
        return None
    return round_half_up(Fraction(paid.amount * money_minor, paid.money_minor))
