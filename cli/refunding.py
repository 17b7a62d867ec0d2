"""`veloera ledger refund`: give back what a call cost. Once for a key, and all refunds of a call together never pass what it paid."""

from __future__ import annotations

from uuid import uuid4

import click

from cli.failures import Misused, NotFound
from cli.kinds import QUOTA
from cli.opening import carried_out, opened
from cli.output import answer, example, json_option, quota


@click.command(
    epilog=example(
        "veloera ledger refund 0199b3c2d4e5f60718293a4b5c6d7e8f --reason 'the answer was cut'",
        "veloera ledger refund 0199b3c2d4e5f60718293a4b5c6d7e8f 1000 --key ticket-9 --json",
    )
)
@click.argument("request_id")
@click.argument("amount", metavar="[QUOTA]", type=QUOTA, required=False)
@click.option("--reason", default="", help="Kept with the fact.")
@click.option("--key", default="", help="Done once for a key, however often it is asked.")
@json_option
def refund(request_id: str, amount: int | None, reason: str, key: str, *, as_json: bool) -> None:
    """Give back what a call cost, or QUOTA of it, to its user and its key's limit.

    REQUEST_ID is the x-request-id of an answer, with dashes or without.
    """
    from domain import charges
    from domain.commands import Refund
    from ledger.explain import stream_of

    try:
        charge = stream_of(request_id)
    except ValueError as error:
        raise Misused(str(error)) from None
    with opened() as books:
        bill = charges.bill_of([recorded.fact for recorded in books.store.read_stream(charge)])
        if bill is None:
            raise NotFound(f"no call that was paid has the request id {charge}")
        command = Refund(
            charge=charge,
            user=bill.user,
            key=bill.key,
            capped=bill.capped,
            command_key=f"cli:{key or uuid4().hex}",
            amount=amount,
            reason=reason,
        )
        result = carried_out(books, lambda: command)
    record = {
        "request_id": charge,
        "user": bill.user,
        "refunded_mills": result.needed,
        "left_mills": result.available,
    }
    text = f"User {bill.user} was given {quota(result.needed)} quota back; {quota(result.available)} of the call's can follow."
    answer(record, text, as_json=as_json)
