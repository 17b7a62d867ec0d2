"""`veloera topup`: payments, what became of them, and those that a person has to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import click

from cli import output
from cli.failures import Misused, NotFound, Refused
from cli.finding import user_named
from cli.kinds import QUOTA
from cli.opening import carried_out, caught_up, opened
from cli.output import answer, example, json_option, listing, quota
from cli.settings import stored
from domain import streams

if TYPE_CHECKING:
    from api.compose import Books
    from domain.topup import Payment
    from projections.payments import PaymentRow

COLUMNS = ("provider", "trade", "user", "status", "amount_mills", "money", "currency", "flagged", "ordered_at_ms")
EXAMPLE_TRADE = "epay USR7NOabcdefgh1795623852"


@click.group(name="topup")
def topups() -> None:
    """Payments: list, look at, credit what was flagged, take back what was refunded.

    PROVIDER and TRADE name a payment, such as epay and the number of its order.
    """


@topups.command(name="list", epilog=example("veloera topup list", "veloera topup list --status flagged --json"))
@click.option("--user", "named", help="Only this user's: an id or a username.")
@click.option("--status", default="", help="pending, success, failed, flagged or reversed.")
@click.option("--page", default=1, type=click.IntRange(1), show_default=True)
@click.option("--size", default=100, type=click.IntRange(1, 1000), show_default=True, help="Payments on a page.")
@json_option
def list_topups(named: str | None, status: str, page: int, size: int, *, as_json: bool) -> None:
    """List payments, the newest first."""
    with opened() as books:
        user_id = None if named is None else user_named(books, named)[0].id
        caught_up(books)
        found = books.read.page_payments(page=page, size=size, user_id=user_id, status=status)
        records = [_record(row) for row in found.items]
    listing(records, COLUMNS, as_json=as_json)


@topups.command(epilog=example(f"veloera topup show {EXAMPLE_TRADE}"))
@click.argument("provider")
@click.argument("trade")
@json_option
def show(provider: str, trade: str, *, as_json: bool) -> None:
    """Show one payment, from its own facts."""
    with opened() as books:
        _payment(books, provider, trade)
        record = _now(books, provider, trade)
    output.show(record, as_json=as_json)


@topups.command(
    epilog=example(f"veloera topup resolve {EXAMPLE_TRADE} alice 500000 --reason 'order lost, paid on the 3rd'")
)
@click.argument("provider")
@click.argument("trade")
@click.argument("named", metavar="USER")
@click.argument("amount", metavar="[QUOTA]", type=QUOTA, required=False)
@click.option("--reason", default="", help="Kept with the fact.")
@json_option
def resolve(provider: str, trade: str, named: str, amount: int | None, reason: str, *, as_json: bool) -> None:
    """Credit a flagged payment to a user; without QUOTA as its order says. Written as topup.settled, once for a payment."""
    from api.payments.rebates import rebate_mills
    from domain.commands import ResolveTopUp

    with opened() as books:
        found, _ = user_named(books, named)
        payment = _payment(books, provider, trade)
        credited = amount or (payment.order.amount if payment.order else 0)
        if not credited:
            raise Misused("name QUOTA, what to credit: no order says it")
        settings = stored(books, ["RebateEnabled", "RebatePercentage"]).settings
        command = ResolveTopUp(
            provider=provider,
            trade=trade,
            user=found.id,
            inviter=found.inviter,
            rebate=rebate_mills(settings, found.inviter, credited),
            amount=credited,
            reason=reason,
            actor=0,
        )
        result = books.writer.submit_blocking(command)
        if result.status == "exists_with_different":
            raise Refused("this payment was credited before; `veloera topup show` says to whom")
        carried_out(books, lambda: command)
        record = _now(books, provider, trade)
    answer(record, f"User {found.id} was credited {quota(credited)} quota for {provider} {trade}.", as_json=as_json)


@topups.command(epilog=example(f"veloera topup reverse {EXAMPLE_TRADE} --reason chargeback --key case-77"))
@click.argument("provider")
@click.argument("trade")
@click.argument("amount", metavar="[QUOTA]", type=QUOTA, required=False)
@click.option("--reason", default="", help="Kept with the fact.")
@click.option("--key", default="", help="Done once for a key, however often it is asked.")
@json_option
def reverse(provider: str, trade: str, amount: int | None, reason: str, key: str, *, as_json: bool) -> None:
    """Take a credit back, or a part of it: its money was refunded. The user may be left with a debt."""
    from domain.commands import ReverseTopUp

    with opened() as books:
        settled = _payment(books, provider, trade).settled
        if settled is None:
            raise NotFound(f"no payment {trade} of {provider} was credited")
        command = ReverseTopUp(
            provider=provider,
            trade=trade,
            user=settled.user,
            command_key=f"cli:{key or uuid4().hex}",
            amount=amount,
            reason=reason,
        )
        carried_out(books, lambda: command)
        record = _now(books, provider, trade)
    answer(record, f"The credit of {provider} {trade} was taken back from user {settled.user}.", as_json=as_json)


def _payment(books: Books, provider: str, trade: str) -> Payment:
    from api.payments.notices import payment_of

    found = payment_of(books.store, provider, trade)
    if found.order is None and found.settled is None and not found.flagged:
        raise NotFound(f"there is no payment {trade} of {provider}; `veloera topup list` shows those there are")
    return found


def _now(books: Books, provider: str, trade: str) -> dict[str, object]:
    """A payment from its own facts, for what cannot wait until they are folded."""
    from projections.payments import of_facts

    facts = [recorded.fact for recorded in books.store.read_stream(streams.payment(provider, trade))]
    return _record(of_facts(provider, trade, facts))


def _record(row: PaymentRow) -> dict[str, object]:
    from api.payments.epay import money_text

    return {
        "provider": row.provider,
        "trade": row.trade,
        "user": row.user_id or None,
        "status": row.status,
        "amount_mills": row.amount_mills,
        "credited_mills": row.credited_mills,
        "reversed_mills": row.reversed_mills,
        "money": money_text(row.money_minor),
        "currency": row.currency,
        "method": row.method,
        "flagged": row.flagged_why,
        "flagged_money": money_text(row.flagged_minor) if row.flagged_why else None,
        "resolved_by": row.resolved_by or None,
        "ordered_at_ms": row.ordered_at or None,
        "settled_at_ms": row.settled_at or None,
    }
