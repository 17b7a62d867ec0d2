"""Inviting others: everybody has a code for their link, and a wallet of what it brought, which they move to what can be spent.

A code is nobody's name and no secret; it is drawn by `secrets`, so that nobody can guess who else was invited.
"""

import secrets
import string
from fractions import Fraction
from typing import Annotated, NamedTuple

from fastapi import Request
from pydantic import Field

from api.admin.amounts import Body
from api.admin.callers import AsUser
from api.admin.changes import carry_out, check, once, together
from api.admin.envelope import Envelope
from api.admin.people import UserShape, living, shown
from api.admin.readable import Readable
from api.admin.refusals import Conflict, Invalid, invalid
from api.admin.routing import Routes
from api.admin.services import OpenBooks, Services, Site
from domain import streams, user
from domain.accounts import MAX_ACCOUNT_QUOTA
from domain.commands import Append, TransferInvite
from domain.events import InviteCodeClaimed
from domain.settings import Settings
from domain.units import mills

routes = Routes("account")

ALPHABET = string.digits + string.ascii_letters
CODE_CHARS = 10
"""The family has four, drawn by a generator that can be foretold."""
MAX_CODE_CHARS = 32


class Transfer(Body):
    """How much is moved out of the invite wallet, in whole quota."""

    quota: Annotated[int, Field(ge=1, le=MAX_ACCOUNT_QUOTA)]


class Welcome(NamedTuple):
    """What a registration with an invite code brings, in mills; `inviter` 0: nobody invited."""

    inviter: int = 0
    invited_mills: int = 0
    inviter_mills: int = 0


@routes.get("/api/user/aff", summary="The code of one's invite link, which is made when it is first asked for")
def read_invite_code(site: Site, who: AsUser) -> Envelope[str]:
    return Envelope(data=invite_code(site, who.id))


@routes.post("/api/user/aff_transfer", summary="Move quota from one's invite wallet to what can be spent")
def transfer_invite_quota(site: Site, who: AsUser, request: Request, asked: Transfer) -> Envelope[UserShape]:
    least = Fraction(site.directory.settings.decimal("QuotaPerUnit"))
    if asked.quota < least:
        raise invalid("quota", f"at least {Readable(site.directory.settings).number('QuotaPerUnit'):,}", asked.quota)
    command = TransferInvite(command_key=once(request, who.id, "invite"), user=who.id, amount=mills(asked.quota))
    result = site.books.writer.submit_blocking(command)
    if result.status == "insufficient":
        raise Conflict(f"your invite wallet holds {result.available:,} mills, {result.needed:,} were asked for")
    check(result)
    data, as_of = shown(site, who.id)
    return Envelope(data=data, as_of=as_of)


def invite_code(site: Services, user_id: int) -> str:
    """The text of a user's invite link. Two that ask at once are given the same one."""

    def make() -> Append | None:
        found, version = living(site, user_id)
        if found.invite_code:
            return None
        text = "".join(secrets.choice(ALPHABET) for _ in range(CODE_CHARS))
        return together(streams.user(user_id), version, user.invite_code_making(found, text))

    carry_out(site, make)
    return living(site, user_id)[0].invite_code


def inviter_with_code(books: OpenBooks, code: str) -> int:
    """Whose invite link this is; 0 where it is nobody's."""
    claimed = books.store.read_stream(streams.invite_code(code.strip())) if 0 < len(code) <= MAX_CODE_CHARS else []
    first = claimed[0].fact if claimed else None
    return first.user if isinstance(first, InviteCodeClaimed) else 0


def welcome(books: OpenBooks, settings: Settings, code: str) -> Welcome:
    """What a registration with this code brings, by the site's options. Raises Invalid for a code that is nobody's."""
    if not code:
        return Welcome()
    inviter = inviter_with_code(books, code)
    if not inviter:
        raise Invalid("aff_code: expected the code of an invite link, or none; this one is nobody's")
    readable = Readable(settings)
    return Welcome(inviter, mills(readable.whole("QuotaForInvitee")), mills(readable.whole("QuotaForInviter")))
