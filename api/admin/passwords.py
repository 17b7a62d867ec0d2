"""Passwords are kept as argon2id hashes. A migrated bcrypt hash still opens, and is replaced when it does.

Whether a user exists cannot be told from the time an answer takes: where there is no hash, the same work is done.
Parameters: OWASP Password Storage Cheat Sheet, the argon2id minimum of 19 MiB and two passes, read 2026-11.
"""

from threading import BoundedSemaphore

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from api.admin.refusals import Invalid, Unavailable

MIN_LENGTH = 8
MAX_LENGTH = 128
BCRYPT_MAX_BYTES = 72
AT_ONCE = 2
WAIT_S = 10

_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_turns = BoundedSemaphore(AT_ONCE)
"""Each hash takes memory and a core: a crowd at the door waits outside."""
NOBODY = f"$argon2id$v=19$m=19456,t=2,p=1${'A' * 22}${'A' * 43}"
"""A hash that no password has, at the price of a real one."""


def check(password: str, field: str = "password") -> str:
    """A password that may be set. Raises Invalid, without repeating it."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid(f"{field}: expected {MIN_LENGTH} to {MAX_LENGTH} characters, got {len(password)}")
    return password


def hashed(password: str) -> str:
    """The text to keep. Raises Unavailable when too many wait."""
    with _Turn():
        return _hasher.hash(password)


def opens(stored: str, password: str) -> bool:
    """Whether a password is the one that was hashed; a user without a password ("") has none that is."""
    with _Turn():
        if stored.startswith("$2"):
            return _opens_bcrypt(stored, password)
        try:
            return _hasher.verify(stored or NOBODY, password)
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether a hash that was just opened should be made anew."""
    return stored.startswith("$2") or _hasher.check_needs_rehash(stored)


def _opens_bcrypt(stored: str, password: str) -> bool:
    try:
        return bcrypt.checkpw(password.encode()[:BCRYPT_MAX_BYTES], stored.encode())
    except ValueError:  # a damaged hash opens for nobody
        return False


class _Turn:
    """One of a few hashes at a time."""

    def __enter__(self) -> None:
        if not _turns.acquire(timeout=WAIT_S):
            raise Unavailable("too many people log in at this moment: try again in some seconds")

    def __exit__(self, *_: object) -> None:
        _turns.release()
