"""The account of whoever is logged in: in, out, who am I, and a token for scripts.

A failed login says the same, and takes the same time, whether the name, the password or the standing was wrong.
"""

import secrets

from fastapi import Request, Response
from pydantic import Field

from api.admin import passwords, sessions
from api.admin.amounts import Body
from api.admin.attempts import CountedAttempts, place
from api.admin.callers import AsUser
from api.admin.changes import carry_out, together
from api.admin.envelope import Envelope
from api.admin.groups import GroupShape, usable_groups
from api.admin.names import claim, renamed
from api.admin.people import Profile, UserShape, at_the_door, living, profile_of, shown
from api.admin.readable import Readable
from api.admin.refusals import Conflict, Forbidden, Missing, Unauthenticated
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up, followed
from api.admin.sessions import LiveSessions, Sessions
from domain import streams, user
from domain.commands import Append, Part
from domain.events import AccessTokenMade, UsernameClaimed
from domain.user import Role, User

routes = Routes("account")

TOKEN_BYTES = 24
"""32 characters, as long as the family's."""
WRONG = "the name or the password is wrong, or the account is disabled"


class Login(Body):
    """`username` is a name or an e-mail address."""

    username: str = Field(min_length=1, max_length=128)
    password: str = Field(min_length=1, max_length=1024)


class SelfEdit(Body):
    """What shall be different; empty fields stay. Money, role and group are not one's own to change."""

    username: str = ""
    display_name: str = ""
    password: str = ""


@routes.post("/api/user/login", summary="Log in with a password; the answer sets the session cookie")
def login(
    site: Site, request: Request, response: Response, sent: Login, attempts: CountedAttempts, live: LiveSessions
) -> Envelope[UserShape]:
    if not Readable(site.directory.settings).flag("PasswordLoginEnabled"):
        raise Forbidden("logging in with a password is switched off on this site")
    address = f"address {place(request.client.host if request.client else '')}"
    name = f"name {sent.username}"
    attempts.begin(address, name)
    found = _entered(site, sent)
    attempts.succeeded(address, name)
    _let_in(site, live, found, request, response)
    return Envelope(data=at_the_door(site, found))


@routes.get("/api/user/logout", summary="End the session, on every machine")
def logout(site: Site, request: Request, response: Response, live: LiveSessions) -> Envelope[None]:
    cookie = request.cookies.get(sessions.COOKIE, "")
    opened = sessions.opened(sessions.signing_key(site), cookie, site.directory.user)
    if opened is not None:
        live.end(opened)
    sessions.clear_cookie(response)
    return Envelope(data=None)


@routes.get("/api/user/self", summary="Who am I")
def read_self(site: Site, who: AsUser) -> Envelope[UserShape]:
    data, as_of = shown(site, who.id)
    return Envelope(data=data, as_of=as_of)


@routes.put("/api/user/self", summary="Change one's own name or password; a new password ends all other sessions")
def update_self(
    site: Site, who: AsUser, request: Request, response: Response, edit: SelfEdit, live: LiveSessions
) -> Envelope[UserShape]:
    password = passwords.hashed(passwords.check(edit.password)) if edit.password else ""

    def change() -> Append | None:
        found, version = living(site, who.id)
        before = profile_of(site, found)
        after = Profile(edit.username or before.username, edit.display_name or before.display_name, before.email)
        changes = [
            renamed(site, found, before, after, actor=who.id),
            user.password_change(found, password=site.books.vault.put(password), actor=who.id) if password else None,
        ]
        wanted = [change for change in changes if change is not None]
        return together(streams.user(who.id), version, *wanted) if wanted else None

    carry_out(site, change)
    if password:
        live.end_all(who.id)
    if password and request.cookies.get(sessions.COOKIE):
        _let_in(site, live, living(site, who.id)[0], request, response)
    data, as_of = shown(site, who.id)
    return Envelope(data=data, as_of=as_of)


@routes.delete("/api/user/self", summary="Delete one's own account")
def delete_self(site: Site, who: AsUser, response: Response, live: LiveSessions) -> Envelope[None]:
    def change() -> Append:
        found, version = living(site, who.id)
        if found.role >= Role.ROOT:
            raise Forbidden("the root account cannot be deleted")
        return together(streams.user(who.id), version, user.deletion(found, actor=who.id))

    carry_out(site, change)
    live.end_all(who.id)
    sessions.clear_cookie(response)
    return Envelope(data=None)


@routes.get("/api/user/token", summary="Make an access token; the one before stops working")
def make_access_token(site: Site, who: AsUser) -> Envelope[str]:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    fact = AccessTokenMade(id=who.id, digest=site.books.vault.digest("access", token))
    carry_out(site, lambda: Append(parts=(Part(streams.user(who.id), None, (fact,)),)))
    return Envelope(data=token)


@routes.get("/api/user/models", summary="Models that one can call")
def list_own_models(site: Site, who: AsUser) -> Envelope[list[str]]:
    followed(site)
    groups = usable_groups(site.directory.settings, who.user.group)
    return Envelope(data=sorted({model for group in groups for model in site.directory.models(group)}))


@routes.get("/api/user/self/groups", summary="Groups that one's keys may name")
def list_own_groups(site: Site, who: AsUser) -> Envelope[dict[str, GroupShape]]:
    followed(site)
    return Envelope(data=usable_groups(site.directory.settings, who.user.group))


def _let_in(site: Services, live: Sessions, found: User, request: Request, response: Response) -> None:
    """Begin a session and hand it to the browser."""
    secret = live.begin(found.id)
    sessions.set_cookie(response, request, sessions.signed(sessions.signing_key(site), found, secret))


def _entered(site: Services, sent: Login) -> User:
    """The user whose name and password these are. Raises Unauthenticated; does the same work in every case."""
    found = _named(site, sent.username)
    stored = site.books.vault.text(found.password) if found is not None else ""
    if not passwords.opens(stored, sent.password) or found is None or not found.is_enabled:
        raise Unauthenticated(WRONG)
    if passwords.is_outdated(stored):
        return _rehashed(site, found, sent.password)
    return found


def _rehashed(site: Services, found: User, password: str) -> User:
    """The user with a hash of today's kind. Where somebody changed the user meanwhile, it is left to the next login."""
    current, version = living(site, found.id)
    if current.password != found.password:
        return found
    change = user.password_change(current, password=site.books.vault.put(passwords.hashed(password)), actor=found.id)
    try:
        carry_out(site, lambda: together(streams.user(found.id), version, change))
    except (Conflict, Missing):
        return found
    return living(site, found.id)[0]


def _named(site: Services, name: str) -> User | None:
    """The user with a name, or with an e-mail address; of several with one address the oldest."""
    claimed = site.books.store.read_stream(streams.username(claim(site, name)))
    last = claimed[-1].fact if claimed else None
    if isinstance(last, UsernameClaimed):
        return _alive(site, last.user)
    if "@" not in name:
        return None
    caught_up(site)
    rows = site.books.read.page_users(page=1, size=100, keyword=name).items
    ids = sorted(row.id for row in rows if row.email.casefold() == name.casefold() and row.deleted_at is None)
    return _alive(site, ids[0]) if ids else None


def _alive(site: Services, user_id: int) -> User | None:
    try:
        return living(site, user_id)[0]
    except Missing:
        return None
