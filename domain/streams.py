"""Streams are named, and a name gives the same id everywhere: what must happen once has one stream.

A stream id is the 32 hex digits of a UUID. A charge's stream is its request id (UUIDv7, made by the gateway); every
other stream is uuid5 of its name. Names of what is secret or personal carry an HMAC, never the thing itself.
"""

from functools import lru_cache
from hashlib import sha1
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1f3c52-0d2b-5f0a-9a52-7a1d3b7a9a10")

StreamId = str


@lru_cache(maxsize=4096)
def named(name: str) -> StreamId:
    return uuid5(NAMESPACE, name).hex


def user(user_id: int) -> StreamId:
    return named(f"user:{user_id}")


def key(key_id: int) -> StreamId:
    return named(f"key:{key_id}")


def channel(channel_id: int) -> StreamId:
    return named(f"channel:{channel_id}")


def setting(name: str) -> StreamId:
    return named(f"setting:{name}")


def username(digest: str) -> StreamId:
    """The claim of one username: `digest` is its HMAC under the id key, in hex."""
    return named(f"username:{digest}")


def adjustment(command_key: str) -> StreamId:
    return named(f"adjust:{command_key}")


def grant(user_id: int, why: str) -> StreamId:
    return named(f"grant:{why}:{user_id}")


def opening(source: str, row: str) -> StreamId:
    return named(f"open:{source}:{row}")


def check_in(user_id: int, day: str) -> StreamId:
    return named(f"checkin:{user_id}:{day}")


def invited(user_id: int) -> StreamId:
    """The bonus that the registration of this user brought its inviter."""
    return named(f"invite:{user_id}")


def invite_code(code: str) -> StreamId:
    return named(f"invitecode:{code}")


def invite_transfer(command_key: str) -> StreamId:
    return named(f"invite_transfer:{command_key}")


def rebate(credited: StreamId) -> StreamId:
    """The rebate on a credit, named by the credit's stream."""
    return named(f"rebate:{credited}")


def code(code_id: int) -> StreamId:
    return named(f"code:{code_id}")


def code_text(digest: str) -> StreamId:
    """The claim of one code's text: `digest` is its HMAC under the id key, in hex."""
    return named(f"codetext:{digest}")


def redemption(code_id: int, user_id: int) -> StreamId:
    return named(f"code:{code_id}:user:{user_id}")


def payment(provider: str, trade: str) -> StreamId:
    return named(f"payment:{provider}:{trade}")


@lru_cache(maxsize=1024)
def extension(charge: StreamId, n: int) -> StreamId:
    """The n-th extension of a hold (1 for the first): uuid5 of the charge and `ext:n`.

    Asked for at the end of every call whose charge is read from a database, twice within its commit, so it is made here: RFC
    9562, section 5.5, is a SHA-1 with six bits replaced.
    """
    digits = sha1(bytes.fromhex(charge) + b"ext:%d" % n, usedforsecurity=False).hexdigest()
    return f"{digits[:12]}5{digits[13:16]}{_VARIANT[digits[16]]}{digits[17:32]}"


_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}
"""A hex digit, and the one that says `RFC 9562` in its upper two bits."""
