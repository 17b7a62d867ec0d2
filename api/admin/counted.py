"""What people may do only so often: guess codes, place orders. Each is counted apart from the others, and from logins."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request

from api.admin.attempts import Attempts, place
from api.admin.refusals import TooMany
from api.admin.services import Site

MAX_CODES = 20
MAX_ORDERS = 60
"""In twenty minutes: an order moves nothing, but it is a fact for ever."""


class Counters(NamedTuple):
    """The counts of one process."""

    codes: Attempts
    orders: Attempts


async def of_app(request: Request, site: Site) -> Counters:
    """The counters of the application that a request came to."""
    state = request.app.state
    if not hasattr(state, "counters"):
        codes, orders = (Attempts(limit, shared=site.shared) for limit in (MAX_CODES, MAX_ORDERS))
        state.counters = Counters(codes, orders)
    counters: Counters = state.counters
    return counters


Counted = Annotated[Counters, Depends(of_app)]


def begin(attempts: Attempts, what: str, *names: str) -> None:
    """Count one, by each of these names; `what` is said to whoever did it too often. Raises TooMany."""
    try:
        attempts.begin(*names)
    except TooMany as error:
        raise TooMany(f"too many {what}: try again in {error.retry_after_s} seconds", error.retry_after_s) from None


def address_of(request: Request) -> str:
    """Where a request came from, as it is counted."""
    return place(request.client.host if request.client else "")
