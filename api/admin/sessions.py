"""A session is a row in the ledger's database that a cookie names by a secret; the cookie is signed for the user's password.

Each request looks the user up in the directory, so a ban, a demotion, a changed password or a deletion is in force at once. A
logout is in force at once in its process and after `RECHECK_S` in every other, whatever Redis says or does not say.
"""

import base64
import hmac
import logging
import secrets
from collections.abc import Callable
from time import monotonic, time
from typing import Annotated, NamedTuple, TypeVar

from fastapi import Depends, Request, Response

from api.admin.refusals import Unavailable
from api.admin.services import Services, Site
from api.admin.session_cache import RECHECK_S, Cached, Known, RedisCache, Remembered
from domain.user import User
from ledger.store import LedgerStore, Session
from relay.shared_link import Link

log = logging.getLogger("veloera")

COOKIE = "session"
LIFE_S = 30 * 86_400
MAX_COOKIE_LENGTH = 256
MAX_ID_LENGTH = 16
SECRET_BYTES = 32
FORGET_AT_ONCE = 1_000
MAX_FORGOTTEN = 100_000
"""Rows, each time that the expired ones are removed."""

T = TypeVar("T")


class Opened(NamedTuple):
    """A cookie that is ours: whose it is, and the secret of its session, which may have ended."""

    user: User
    secret: str


class Sessions:
    """The sessions of one ledger as one process knows them."""

    def __init__(
        self,
        store: LedgerStore,
        digest: Callable[[str, str], str],
        link: Link,
        *,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
    ) -> None:
        self._store = store
        self._digest = digest
        self._clock = clock
        self._wall = wall
        self._remembered = Remembered(clock)
        self._redis = RedisCache(link, digest)

    def begin(self, user_id: int) -> str:
        """Begin a session; its secret. Blocks. Raises Unavailable."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        digest, now_ms = self._digest("session", secret), self._now_ms()
        session = Session(digest, user_id, now_ms, now_ms + LIFE_S * 1000)
        _reached(lambda: self._store.put_session(session))
        self._remembered.put(digest, Known(user_id, True, self._clock() + RECHECK_S))
        return secret

    def known(self, opened: Opened) -> bool | None:
        """Whether a session lives, where this process knows it; else None. Never blocks."""
        return self._remembered.get(self._digest("session", opened.secret), opened.user.id)

    def lives(self, opened: Opened) -> bool:
        """Whether a session lives. Blocks. Raises Unavailable."""
        digest, user_id = self._digest("session", opened.secret), opened.user.id
        asked_at, asked_at_ms = self._clock(), self._now_ms()
        cached = self._redis.get(digest, user_id)
        if cached is None or not 0 <= asked_at_ms - cached.checked_at_ms < RECHECK_S * 1000:
            row = _reached(lambda: self._store.session(digest))
            if row is None or row.user != user_id or row.expires_at_ms <= asked_at_ms:
                self._remembered.put(digest, Known(user_id, False, asked_at + RECHECK_S))
                return False
            cached = Cached(asked_at_ms, row.expires_at_ms)
            self._redis.put(digest, user_id, cached)
        good_ms = min(cached.checked_at_ms + RECHECK_S * 1000, cached.expires_at_ms) - asked_at_ms
        self._remembered.put(digest, Known(user_id, True, asked_at + good_ms / 1000))
        return good_ms > 0

    def end(self, opened: Opened) -> None:
        """End a session. Blocks. Raises Unavailable: it has not ended then."""
        digest = self._digest("session", opened.secret)
        _reached(lambda: self._store.end_session(digest))
        self._remembered.end(digest, opened.user.id)
        self._redis.end(digest)

    def end_all(self, user_id: int) -> None:
        """End all sessions of a user. Blocks. Raises Unavailable: they have not ended then."""
        _reached(lambda: self._store.end_sessions_of(user_id))
        for digest in self._remembered.end_all(user_id):
            self._redis.end(digest)

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


def forget_expired(store: LedgerStore, now_ms: int | None = None) -> int:
    """Remove sessions that have expired, a bounded number; how many. A job of the leader. Raises what the store raises."""
    before_ms = int(time() * 1000) if now_ms is None else now_ms
    forgotten = 0
    while forgotten < MAX_FORGOTTEN:
        some = store.forget_sessions(before_ms, FORGET_AT_ONCE)
        forgotten += some
        if some < FORGET_AT_ONCE:
            break
    return forgotten


def signing_key(site: Services) -> bytes:
    """From SESSION_SECRET; without one from the vault, the same in every process of this ledger."""
    secret = site.environment.session_secret
    if secret:
        return hmac.digest(secret.encode(), b"veloera session", "sha256")
    return site.books.vault.session_key()


def signed(key: bytes, user: User, secret: str) -> str:
    """The cookie of a session, good while the user's password stays as it is."""
    return f"{user.id}.{secret}.{_signature(key, user, secret)}"


def opened(key: bytes, cookie: str, user_of: Callable[[int], User | None]) -> Opened | None:
    """What a cookie says; None when it is not ours, or was signed for another password. The database is not asked for that."""
    user_id, _, rest = cookie.partition(".")
    secret, _, signature = rest.partition(".")
    if len(cookie) > MAX_COOKIE_LENGTH or not cookie.isascii() or not user_id.isdigit() or len(user_id) > MAX_ID_LENGTH:
        return None
    user = user_of(int(user_id))
    if user is None or not hmac.compare_digest(signature, _signature(key, user, secret)):
        return None
    return Opened(user, secret)


def set_cookie(response: Response, request: Request, cookie: str) -> None:
    """Hand a session to the browser: out of reach of scripts and of other sites."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LIFE_S,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def clear_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


async def of_app(request: Request, site: Site) -> Sessions:
    """The sessions of the application that a request came to."""
    state = request.app.state
    if not hasattr(state, "sessions"):
        state.sessions = Sessions(site.books.store, site.books.vault.digest, site.shared.link)
    sessions: Sessions = state.sessions
    return sessions


LiveSessions = Annotated[Sessions, Depends(of_app)]


def _signature(key: bytes, user: User, secret: str) -> str:
    digest = hmac.digest(key, f"session-2:{user.id}:{secret}:{user.password}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _reached(ask: Callable[[], T]) -> T:
    """What the database says. Raises Unavailable: who is logged in is not known then, which is not the same as nobody."""
    try:
        return ask()
    except Exception as error:
        log.warning("sessions_unreachable error=%s", type(error).__name__)
        raise Unavailable("the database of sessions cannot be reached; try again in a moment") from error
