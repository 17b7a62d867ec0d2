"""The first account of a site: whoever asks first while there is no root account makes it; afterwards nobody does.

`veloera serve` and `veloera init` make one on an empty store, so this is for stores that were emptied of it, or not yet asked.
"""

from fastapi import Request
from pydantic import BaseModel, Field

from api import bootstrap
from api.admin import passwords
from api.admin.amounts import Body
from api.admin.changes import check
from api.admin.envelope import Envelope
from api.admin.names import check_username
from api.admin.options import write_option
from api.admin.refusals import Malformed
from api.admin.routing import Routes
from api.admin.services import Services, Site

routes = Routes("site")

DONE = "this site has a root account already: log in with it"
DATABASE = "sqlite"


class SetupShape(BaseModel):
    """Whether the site has been set up."""

    status: bool
    root_init: bool
    database_type: str


class Setup(Body):
    """The first account, and what the site is for."""

    username: str
    password: str
    confirmation: str = Field(alias="confirmPassword")
    is_self_use: bool = Field(default=False, alias="SelfUseModeEnabled")
    is_demo: bool = Field(default=False, alias="DemoSiteEnabled")


@routes.get("/api/setup", summary="Whether the site has been set up")
def read_setup(request: Request, site: Site) -> Envelope[SetupShape]:
    done = is_set_up(request, site)
    return Envelope(data=SetupShape(status=done, root_init=done, database_type=DATABASE))


@routes.post("/api/setup", summary="Make the root account, while there is none")
def set_up(request: Request, site: Site, first: Setup) -> Envelope[None]:
    if is_set_up(request, site):
        raise Malformed(DONE)
    username = check_username(first.username)
    if first.password != first.confirmation:
        raise Malformed("confirmPassword: expected the same password again")
    result = bootstrap.register_root(
        site.books, username=username, password=passwords.check(first.password), display_name="Root User"
    )
    if result.status == "exists":
        raise Malformed(DONE)
    check(result)
    write_option(site, result.id, "SelfUseModeEnabled", _text(first.is_self_use))
    write_option(site, result.id, "DemoSiteEnabled", _text(first.is_demo))
    return Envelope(message="the site is set up: log in with the new account", data=None)


def is_set_up(request: Request, site: Services) -> bool:
    """Whether there is a root account; looked for in the ledger until there is one."""
    state = request.app.state
    if not getattr(state, "has_root", False):
        state.has_root = bootstrap.has_root(site.books)
    return bool(state.has_root)


def _text(switch: bool) -> str:
    return "true" if switch else "false"
