"""A session is a signed cookie that names a user and the password it was opened with; it is worth nothing alone.

Each request looks the user up again, so a ban, a demotion, a changed password or a deletion is in force at once.
"""

import base64
import hashlib
import hmac
from typing import NamedTuple

from fastapi import Request, Response

from api.admin.services import Services
from domain.user import User

COOKIE = "session"
LIFE_S = 30 * 86_400
MAX_COOKIE_LENGTH = 256
_CLOCK_SKEW_S = 60


class Claims(NamedTuple):
    """What a cookie with a good signature says."""

    user_id: int
    opened_at_s: int
    mark: str
    """Names the password that it was opened with, see `mark_of`."""


def signing_key(site: Services) -> bytes:
    """From SESSION_SECRET; without one from the vault, the same in every process of this ledger."""
    secret = site.environment.session_secret
    if secret:
        return hmac.digest(secret.encode(), b"veloera session", "sha256")
    return site.books.vault.session_key()


def mark_of(key: bytes, user: User) -> str:
    """A name for the user's password as it is now: another password, another mark."""
    return hmac.new(key, f"password:{user.id}:{user.password}".encode(), hashlib.sha256).hexdigest()[:32]


def issued(key: bytes, user: User, now_s: int) -> str:
    """The cookie of a session that begins now."""
    body = f"{user.id}.{now_s}.{mark_of(key, user)}"
    return f"{body}.{_signature(key, body)}"


def opened(key: bytes, cookie: str, now_s: int) -> Claims | None:
    """What a cookie says; None when it is not ours, or too old."""
    if len(cookie) > MAX_COOKIE_LENGTH or not cookie.isascii():
        return None
    body, _, signature = cookie.rpartition(".")
    if not hmac.compare_digest(signature, _signature(key, body)):
        return None
    user_id, opened_at_s, mark = body.split(".")
    claims = Claims(int(user_id), int(opened_at_s), mark)
    return claims if -_CLOCK_SKEW_S <= now_s - claims.opened_at_s <= LIFE_S else None


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


def _signature(key: bytes, body: str) -> str:
    digest = hmac.digest(key, f"session-1:{body}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
