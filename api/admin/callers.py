"""Who asks: a person with a session, or a script with an access token, and in both cases a header that names the user.

What the caller may do is read from the directory at every request, never from the cookie.
"""

from typing import Annotated, NamedTuple

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer

from api.admin import sessions
from api.admin.refusals import Forbidden, Unauthenticated, Unavailable
from api.admin.services import Services, Site, followed
from api.admin.sessions import LiveSessions, Sessions
from domain.user import Role, User

USER_HEADERS = ("veloera-user", "new-api-user")
MAX_TOKEN_LENGTH = 256
CATCH_UP_S = 0.5
_DOCUMENTED = (
    Security(APIKeyCookie(name=sessions.COOKIE, scheme_name="session", auto_error=False)),
    Security(HTTPBearer(scheme_name="access token", auto_error=False)),
    Security(APIKeyHeader(name="Veloera-User", scheme_name="user id", auto_error=False)),
)
"""For the OpenAPI document only: the checks are ours."""


class Caller(NamedTuple):
    """A user who is logged in, with the standing of this moment."""

    user: User

    @property
    def id(self) -> int:
        return self.user.id

    @property
    def is_admin(self) -> bool:
        return self.user.role >= Role.ADMIN

    @property
    def is_root(self) -> bool:
        return self.user.role >= Role.ROOT


async def caller(
    request: Request,
    site: Site,
    live: LiveSessions,
    _cookie: Annotated[object, _DOCUMENTED[0]] = None,
    _token: Annotated[object, _DOCUMENTED[1]] = None,
    _user: Annotated[object, _DOCUMENTED[2]] = None,
) -> Caller:
    """Anybody who is logged in.

    Raises:
        Unauthenticated: no session and no token, one that has ended, or a header that does not name its user.
        Unavailable: the directory does not follow the ledger, or the database of sessions cannot be asked: nobody's standing
            is known.
    """
    if not site.directory.is_fresh:
        raise Unavailable("the directory of users is behind the ledger: try again in a moment")
    user = await identified(request, site, live)
    if user is None and _has_credential(request):
        # Another process may have made it a moment ago.
        await run_in_threadpool(followed, site, CATCH_UP_S)
        user = await identified(request, site, live)
    if user is None:
        raise Unauthenticated(
            "expected a session cookie (log in at POST /api/user/login) or an access token in the Authorization header; "
            + ("the one that was sent has ended or is not valid" if _has_credential(request) else "got neither")
        )
    _check_header(request, user)
    return Caller(user)


async def admin(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """An administrator, or root. Raises Forbidden."""
    if not who.is_admin:
        raise Forbidden("this is for administrators: ask one, or log in as one")
    return who


async def root(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """The root account. Raises Forbidden."""
    if not who.is_root:
        raise Forbidden("this is for the root account")
    return who


async def visitor(request: Request, site: Site, live: LiveSessions) -> Caller | None:
    """Whoever it is: for pages that everybody sees, and people who are logged in see more of."""
    user = await identified(request, site, live)
    return None if user is None else Caller(user)


AsUser = Annotated[Caller, Depends(caller)]
AsAdmin = Annotated[Caller, Depends(admin)]
AsRoot = Annotated[Caller, Depends(root)]
AsVisitor = Annotated[Caller | None, Depends(visitor)]


async def identified(request: Request, site: Services, live: Sessions) -> User | None:
    """The enabled user whom the session, or else the access token, belongs to. Raises Unavailable."""
    user = await _of_session(request, site, live) or _of_token(request, site)
    return user if user is not None and user.is_enabled else None


async def _of_session(request: Request, site: Services, live: Sessions) -> User | None:
    cookie = request.cookies.get(sessions.COOKIE, "")
    opened = sessions.opened(sessions.signing_key(site), cookie, site.directory.user) if cookie else None
    if opened is None:
        return None
    lives = live.known(opened)
    if lives is None:
        lives = await run_in_threadpool(live.lives, opened)
    return opened.user if lives else None


def _of_token(request: Request, site: Services) -> User | None:
    token = _bearer(request)
    if not token or len(token) > MAX_TOKEN_LENGTH:
        return None
    return site.directory.user_with_access_token(site.books.vault.digest("access", token))


def _bearer(request: Request) -> str:
    text = request.headers.get("authorization", "").strip()
    return text[7:].strip() if text[:7].lower() == "bearer " else text


def _has_credential(request: Request) -> bool:
    return bool(request.cookies.get(sessions.COOKIE) or _bearer(request))


def _check_header(request: Request, user: User) -> None:
    named = next((text for name in USER_HEADERS if (text := request.headers.get(name))), None)
    if named is None:
        raise Unauthenticated("expected the header Veloera-User with the id of the user who is logged in, got none")
    if named.strip() != str(user.id):
        raise Unauthenticated(
            "the header Veloera-User names another user than the one who is logged in: send your own id"
        )
