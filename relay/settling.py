"""The end of a call that reached a provider: its usage, its cost, its charge."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from domain import commands
from domain.accounts import MAX_ACCOUNT_MILLS
from domain.books import Result
from domain.usage import Usage
from relay.asked import Asked
from relay.attempts import Attempt
from relay.call import Call
from relay.credit import Hold
from relay.desk import Desk
from relay.errors import Exhausted, Unavailable
from relay.format import Format
from relay.meter import Measured, counted
from relay.router import Route

log = logging.getLogger("veloera.relay")

NOTHING = Measured(Usage(), "none")
UPSTREAM_IDS = ("x-request-id", "request-id", "x-oneapi-request-id")
MAX_UPSTREAM_ID_CHARS = 128


class FailedAtFirst(Exception):
    """A route failed before a byte of its answer went to the client: another one may try."""

    def __init__(self, failure: Exhausted) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Ending(msgspec.Struct, frozen=True):
    """How a call ended, apart from what it used."""

    by: str
    stream: bool
    first_byte_ms: int = -1


async def settle(
    call: Call, desk: Desk, hold: Hold, made: Attempt, tried: list[int], measured: Measured, ending: Ending
) -> Result:
    """Charge what was used at the price of the route that answered. Raises Unavailable."""
    price = made.route.price
    usage, basis = measured
    cost = price.cost_mills(usage)
    if cost > MAX_ACCOUNT_MILLS:
        # Prices times counts beyond any account: a misconfigured price book. Nobody can owe it, so nobody is charged it.
        usage, cost, basis = Usage(), 0, "none"
    route = made.route
    result = await hold.end(
        commands.Settle(
            charge=hold.charge,
            user=hold.user,
            key=hold.key,
            capped=hold.capped,
            extensions=hold.extensions,
            model=hold.model,
            group=hold.group,
            price=price,
            usage=usage,
            cost=cost,
            ended_by=ending.by,
            basis=basis,
            endpoint=call.endpoint,
            stream=ending.stream,
            channel=route.channel_id,
            upstream_model=route.served.upstream_model,
            upstream_request_id=_upstream_id(made),
            client_request_id=call.client_request_id,
            first_byte_ms=ending.first_byte_ms,
            duration_ms=call.elapsed_ms,
            attempts=tuple(tried),
        )
    )
    # One that is kept until the database is back has no fact yet: what of it is written off then is seen in the ledger only.
    paid = cost if result.fact is None else getattr(result.fact, "paid", 0)
    desk.figures.settled(cost, paid, usage.input_total, usage.output_total)
    desk.figures.ended(ending.by)
    desk.figures.attempted(route.channel_id, ending.by)
    return result


async def give_back(hold: Hold, desk: Desk, call: Call, why: str, status: int, tried: Sequence[int]) -> None:
    """End a hold with nothing charged. Where the ledger cannot, the hold's deadline ends it."""
    try:
        await hold.release(
            why,
            endpoint=call.endpoint,
            status=0 if status == 499 else status,
            attempts=tried,
            duration_ms=call.elapsed_ms,
        )
        desk.figures.ended("released")
    except (Unavailable, asyncio.InvalidStateError) as error:
        # The user loses nothing, and the operator is told.
        log.error("release_failed charge=%s why=%s error=%s", hold.charge, why, error)


async def settle_unanswered(
    call: Call, desk: Desk, asked: Asked, format_: Format, hold: Hold, route: Route, tried: list[int]
) -> Result:
    """The client left after its request had gone out whole: it pays for the input."""
    measured = await counted(desk.counter, format_, asked, route.served.upstream_model, "")
    made = Attempt(route, None, call.sending, asked.stream)
    return await settle(call, desk, hold, made, tried, measured, Ending("client_left", asked.stream))


def _upstream_id(made: Attempt) -> str:
    if made.answer is None:
        return ""
    headers = made.answer.headers
    for name in UPSTREAM_IDS:
        value = headers.get(name)
        if value:
            return value[:MAX_UPSTREAM_ID_CHARS]
    return ""
